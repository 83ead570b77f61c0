//! Where a body ends, and its encoding in chunks.
//!
//! Decoding is strict: sizes are plain hexadecimal, lines end in CR LF, extensions and trailers are
//! bounded. What is not plain is an error that ends the connection (RFC 9112 §7.1, §11.2).

use bytes::{Buf, BufMut, BytesMut};

use super::headers;

/// Longest line of a chunk's size with its extensions, which are read over.
const MAX_SIZE_LINE: usize = 256;

/// Most bytes of a trailer section.
const MAX_TRAILERS: usize = 8 * 1024;

/// Most fields of a trailer section.
const MAX_TRAILER_FIELDS: usize = 32;

/// How long a body is, as its head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// There is none.
    None,
    /// `Content-Length`.
    Exact(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// It ends with the connection; answers only.
    UntilClose,
}

/// What is wrong with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadBody {
    #[error("a chunk's size is not plain hexadecimal")]
    Size,
    #[error("a chunk's size line is longer than {MAX_SIZE_LINE} bytes")]
    SizeLine,
    #[error("a chunk does not end where its size says")]
    ChunkEnd,
    #[error("the trailers cannot be read or exceed {MAX_TRAILERS} bytes")]
    Trailers,
}

/// What stands at the front of the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// So many bytes of the body; take them with [`Decoder::take`].
    Data(usize),
    /// Nothing to be used yet: read more.
    NeedMore,
    /// The body is over.
    End,
}

/// Finds the bytes of a body in what was read.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
    trailers: BytesMut,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Exact(u64),
    UntilClose,
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    Over,
}

impl Decoder {
    pub(crate) fn new(length: Length) -> Self {
        let state = match length {
            Length::None | Length::Exact(0) => State::Over,
            Length::Exact(n) => State::Exact(n),
            Length::Chunked => State::ChunkSize,
            Length::UntilClose => State::UntilClose,
        };
        Self { state, trailers: BytesMut::new() }
    }

    /// Whether the body is over.
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Whether the end of the connection ends the body, rather than breaking it.
    pub(crate) fn ends_with_connection(&self) -> bool {
        self.state == State::UntilClose
    }

    /// Trailer fields that may pass, as lines.
    pub(crate) fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// Looks at the front of the buffer, taking framing off it.
    pub(crate) fn next(&mut self, buf: &mut BytesMut) -> Result<Piece, BadBody> {
        loop {
            match self.state {
                State::Over => return Ok(Piece::End),
                _ if buf.is_empty() => return Ok(Piece::NeedMore),
                State::UntilClose => return Ok(Piece::Data(buf.len())),
                State::Exact(left) | State::ChunkData(left) => {
                    return Ok(Piece::Data(usize::try_from(left).map_or(buf.len(), |l| l.min(buf.len()))));
                }
                State::ChunkSize => {
                    let Some(line) = line_length(buf, MAX_SIZE_LINE).map_err(|()| BadBody::SizeLine)? else {
                        return Ok(Piece::NeedMore);
                    };
                    let size = chunk_size(&buf[..line])?;
                    buf.advance(line + 2);
                    self.state = if size == 0 { State::Trailers } else { State::ChunkData(size) };
                }
                State::ChunkEnd => {
                    if buf.len() < 2 {
                        return if buf[0] == b'\r' { Ok(Piece::NeedMore) } else { Err(BadBody::ChunkEnd) };
                    }
                    if !buf.starts_with(b"\r\n") {
                        return Err(BadBody::ChunkEnd);
                    }
                    buf.advance(2);
                    self.state = State::ChunkSize;
                }
                State::Trailers => {
                    if !self.take_trailer_line(buf)? {
                        return Ok(Piece::NeedMore);
                    }
                }
            }
        }
    }

    /// Takes `n` bytes, at most those [`Piece::Data`] told of, off the buffer.
    pub(crate) fn take(&mut self, buf: &mut BytesMut, n: usize) {
        buf.advance(n);
        self.took(n);
    }

    /// As [`Self::take`] for bytes that were split off the buffer already.
    pub(crate) fn took(&mut self, n: usize) {
        match &mut self.state {
            State::Exact(left) => {
                *left -= n as u64;
                if *left == 0 {
                    self.state = State::Over;
                }
            }
            State::ChunkData(left) => {
                *left -= n as u64;
                if *left == 0 {
                    self.state = State::ChunkEnd;
                }
            }
            _ => {}
        }
    }

    /// Takes one line of the trailer section; false if it is not there in full yet.
    fn take_trailer_line(&mut self, buf: &mut BytesMut) -> Result<bool, BadBody> {
        let room = MAX_TRAILERS - self.trailers.len();
        let Some(line) = line_length(buf, room).map_err(|()| BadBody::Trailers)? else { return Ok(false) };
        if line == 0 {
            buf.advance(2);
            self.state = State::Over;
            return Ok(true);
        }
        let mut whole = buf.split_to(line + 2);
        whole.put_slice(b"\r\n");
        let mut field = [httparse::EMPTY_HEADER; 1];
        match httparse::parse_headers(&whole, &mut field) {
            Ok(httparse::Status::Complete((n, [field]))) if n == whole.len() => {
                // What may not trail still counts against the bound, as white space would.
                let fields = self.trailers.iter().filter(|b| **b == b'\n').count();
                if fields >= MAX_TRAILER_FIELDS {
                    return Err(BadBody::Trailers);
                }
                if headers::may_trail(field.name.as_bytes()) {
                    self.trailers.put_slice(&whole[..line + 2]);
                }
                Ok(true)
            }
            _ => Err(BadBody::Trailers),
        }
    }
}

/// Length of the line at the front, without its CR LF; `None` if its end was not read yet. An error if
/// it is longer than `max` or ends in a bare LF.
fn line_length(buf: &[u8], max: usize) -> Result<Option<usize>, ()> {
    let window = &buf[..buf.len().min(max + 2)];
    match memchr::memchr(b'\n', window) {
        Some(0) => Err(()),
        Some(end) if window[end - 1] == b'\r' => Ok(Some(end - 1)),
        Some(_) => Err(()),
        None if buf.len() > max + 1 => Err(()),
        None => Ok(None),
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, BadBody> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    // 15 digits are 2⁶⁰ bytes: enough, and no overflow.
    if !(1..=15).contains(&digits) {
        return Err(BadBody::Size);
    }
    match line[digits..].trim_ascii_start().first() {
        None if line.len() == digits => {}
        Some(b';') => {}
        _ => return Err(BadBody::Size),
    }
    if line[digits..].iter().any(|b| *b < 0x20 && *b != b'\t') {
        return Err(BadBody::Size);
    }
    let text = std::str::from_utf8(&line[..digits]).map_err(|_| BadBody::Size)?;
    u64::from_str_radix(text, 16).map_err(|_| BadBody::Size)
}

/// Writes one chunk. Nothing for no data: an empty chunk would end the body.
pub(crate) fn write_chunk(out: &mut BytesMut, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    write_hex(out, data.len());
    out.put_slice(b"\r\n");
    out.put_slice(data);
    out.put_slice(b"\r\n");
}

/// Writes the end of a chunked body.
pub(crate) fn write_last_chunk(out: &mut BytesMut, trailers: &[u8]) {
    out.put_slice(b"0\r\n");
    out.put_slice(trailers);
    out.put_slice(b"\r\n");
}

fn write_hex(out: &mut BytesMut, n: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - n.leading_zeros()).div_ceil(4).max(1);
    for i in (0..digits).rev() {
        out.put_u8(DIGITS[(n >> (4 * i)) & 0xf]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes what arrives in the given pieces.
    fn decode(length: Length, pieces: &[&[u8]]) -> Result<(Vec<u8>, bool, Vec<u8>), BadBody> {
        let (mut d, mut buf, mut body) = (Decoder::new(length), BytesMut::new(), Vec::new());
        for piece in pieces {
            buf.extend_from_slice(piece);
            while let Piece::Data(n) = d.next(&mut buf)? {
                body.extend_from_slice(&buf[..n]);
                d.take(&mut buf, n);
            }
        }
        Ok((body, d.is_over(), buf.to_vec()))
    }

    #[test]
    fn chunks_are_found_however_they_are_cut() {
        let wire = b"5\r\nhello\r\n6;ext=\"x\"\r\n world\r\n0\r\nServer-Timing: a\r\n\r\nGET /";
        let whole = (b"hello world".to_vec(), true, b"GET /".to_vec());
        assert_eq!(decode(Length::Chunked, &[wire]).unwrap(), whole);
        let bytes: Vec<&[u8]> = wire.chunks(1).collect();
        assert_eq!(decode(Length::Chunked, &bytes).unwrap(), whole);
    }

    #[test]
    fn an_exact_body_ends_at_its_length() {
        assert_eq!(
            decode(Length::Exact(3), &[b"ab", b"cd"]).unwrap(),
            (b"abc".to_vec(), true, b"d".to_vec())
        );
        assert!(Decoder::new(Length::Exact(0)).is_over());
        assert!(!decode(Length::UntilClose, &[b"ab"]).unwrap().1);
    }

    #[test]
    fn what_is_not_plain_is_refused() {
        let long = [b'1'; MAX_SIZE_LINE + 2];
        let rows: [(&[u8], BadBody); 12] = [
            (b"\r\n", BadBody::Size),
            (b"0x5\r\nhello", BadBody::Size),
            (b"+5\r\nhello", BadBody::Size),
            (b"-1\r\n", BadBody::Size),
            (b"5 5\r\nhello", BadBody::Size),
            (b"5\nhello", BadBody::SizeLine),
            (b"1111111111111111\r\n", BadBody::Size),
            (b"5;a\x00\r\n", BadBody::Size),
            (&long, BadBody::SizeLine),
            (b"5\r\nhelloX", BadBody::ChunkEnd),
            (b"0\r\nbad trailer\r\n\r\n", BadBody::Trailers),
            (b"0\r\n a: b\r\n\r\n", BadBody::Trailers),
        ];
        for (wire, error) in rows {
            assert_eq!(decode(Length::Chunked, &[wire]), Err(error), "{}", wire.escape_ascii());
        }
    }

    #[test]
    fn trailers_that_frame_or_route_are_dropped() {
        let mut d = Decoder::new(Length::Chunked);
        let mut buf = BytesMut::from(&b"0\r\nX-Sum: 1\r\nContent-Length: 4\r\nHost: evil\r\n\r\n"[..]);
        assert_eq!(d.next(&mut buf), Ok(Piece::End));
        assert_eq!(d.trailers(), b"X-Sum: 1\r\n");
    }

    #[test]
    fn written_chunks_read_back() {
        for size in [1, 9, 15, 16, 255, 256, 4096, 70_000] {
            let (mut out, data) = (BytesMut::new(), vec![7; size]);
            write_chunk(&mut out, &data);
            write_chunk(&mut out, b"");
            write_last_chunk(&mut out, b"");
            assert_eq!(decode(Length::Chunked, &[&out]).unwrap(), (data, true, vec![]), "{size}");
        }
    }
}
