//! A look at the write-ahead log before SQLite reads it.
//!
//! SQLite takes frames from the log as long as their checksums hold and silently ignores the rest. That is right for
//! the torn end of a commit nobody was told of, and wrong to pass over when commits stand behind the damage: they
//! were acknowledged. So the log is read through first. Its format: <https://sqlite.org/fileformat.html#walformat>.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The last bit of the magic number says whether checksums are of big-endian words.
const MAGIC: u32 = 0x377f_0682;

/// What the log is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// SQLite will read all that was committed.
    Sound,
    /// SQLite will drop commits without a word.
    Broken {
        /// Commits that can be read.
        readable: u64,
        /// Commits that can't; `None` where the log's own header is damaged.
        lost: Option<u64>,
    },
}

/// Reads the log at `path`.
pub(crate) fn check(path: &Path) -> io::Result<Verdict> {
    check_bytes(BufReader::new(File::open(path)?))
}

fn check_bytes(mut log: impl Read) -> io::Result<Verdict> {
    let mut header = [0; HEADER];
    match fill(&mut log, &mut header)? {
        0 => return Ok(Verdict::Sound),
        // Too short to hold a frame: no commit was ever acknowledged from it.
        n if n < HEADER => return Ok(Verdict::Sound),
        _ => {}
    }
    let magic = word(&header, 0);
    let big_endian = magic & 1 == 1;
    let page = word(&header, 8) as usize;
    let mut sum = checksum(&header[..24], (0, 0), big_endian);
    let sane_page = page.is_power_of_two() && (512..=65536).contains(&page);
    if magic & !1 != MAGIC || !sane_page || sum != (word(&header, 24), word(&header, 28)) {
        return Ok(Verdict::Broken { readable: 0, lost: None });
    }
    let salts = &header[16..24];
    let (mut readable, mut lost, mut intact) = (0, 0, true);
    let mut frame = vec![0; FRAME_HEADER + page];
    while fill(&mut log, &mut frame)? == frame.len() {
        // A frame of an earlier use of the file: the log ends here, or did before the damage.
        if frame[8..16] != *salts {
            if intact {
                break;
            }
            continue;
        }
        let is_commit = word(&frame, 4) != 0;
        if intact {
            let head = checksum(&frame[..8], sum, big_endian);
            sum = checksum(&frame[FRAME_HEADER..], head, big_endian);
            intact = sum == (word(&frame, 16), word(&frame, 20));
        }
        match (is_commit, intact) {
            (true, true) => readable += 1,
            (true, false) => lost += 1,
            (false, _) => {}
        }
    }
    Ok(if lost == 0 { Verdict::Sound } else { Verdict::Broken { readable, lost: Some(lost) } })
}

/// Reads until `buffer` is full or the end; how much it was.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match from.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The format's own checksum: two running sums over pairs of words.
fn checksum(bytes: &[u8], (mut a, mut b): (u32, u32), big_endian: bool) -> (u32, u32) {
    for pair in bytes.chunks_exact(8) {
        let [x, y] = [0, 4].map(|i| {
            let word = [pair[i], pair[i + 1], pair[i + 2], pair[i + 3]];
            if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
        });
        a = a.wrapping_add(x).wrapping_add(b);
        b = b.wrapping_add(y).wrapping_add(a);
    }
    (a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of `commits` commits of one page each, as SQLite writes it.
    fn log(commits: u8) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let db = rusqlite::Connection::open(&path).unwrap();
        db.pragma_update(None, "journal_mode", "WAL").unwrap();
        db.execute_batch("CREATE TABLE t (a); PRAGMA wal_checkpoint(TRUNCATE);").unwrap();
        for n in 0..commits {
            db.execute("INSERT INTO t VALUES (?1)", [n]).unwrap();
        }
        std::fs::read(dir.path().join("x.db-wal")).unwrap()
    }

    fn frame(n: usize) -> usize {
        HEADER + n * (FRAME_HEADER + 4096)
    }

    #[test]
    fn damage_in_front_of_commits_is_found_and_a_torn_end_is_not_damage() {
        let sound = log(5);
        assert_eq!(sound.len(), frame(5), "one frame a commit");
        let check = |bytes: &[u8]| check_bytes(bytes).unwrap();
        let broken = |readable, lost| Verdict::Broken { readable, lost };
        let flipped = |at: usize| {
            let mut bytes = sound.clone();
            bytes[at] ^= 1;
            bytes
        };
        assert_eq!(check(&sound), Verdict::Sound);
        assert_eq!(check(&[]), Verdict::Sound);
        assert_eq!(check(&sound[..HEADER - 1]), Verdict::Sound);
        assert_eq!(check(&sound[..HEADER]), Verdict::Sound);
        assert_eq!(
            check(&sound[..frame(4) + 100]),
            Verdict::Sound,
            "a commit cut short was never acknowledged"
        );
        for at in 0..HEADER {
            assert_eq!(check(&flipped(at)), broken(0, None), "header byte {at}");
        }
        assert_eq!(check(&flipped(frame(0) + 50)), broken(0, Some(5)));
        assert_eq!(check(&flipped(frame(2) + FRAME_HEADER)), broken(2, Some(3)));
        assert_eq!(check(&flipped(frame(2) + 17)), broken(2, Some(3)), "a checksum");
        assert_eq!(check(&flipped(frame(4) + 4000)), broken(4, Some(1)));
        assert_eq!(check(&[7; 9000]), broken(0, None), "garbage");
    }

    #[test]
    fn frames_of_an_earlier_use_are_not_damage() {
        let mut bytes = log(5);
        for n in 2..5 {
            bytes[frame(n) + 8] ^= 1;
        }
        assert_eq!(check_bytes(bytes.as_slice()).unwrap(), Verdict::Sound);
    }
}
