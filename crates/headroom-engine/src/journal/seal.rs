//! A checksum before each record's text: `1c291ca3 {"tick":…}`.
//!
//! SQLite finds a torn page where it breaks the structure of its tables. Where it hits the middle of a long text,
//! SQLite gives the text back as it is, and a number with a digit changed is still JSON. The seal makes that a
//! record that can't be read instead of one that is wrong.

/// Hexadecimal digits of a CRC-32, and a space.
const SEAL: usize = 9;

/// The text with its seal.
pub(crate) fn seal(text: &str) -> String {
    format!("{:08x} {text}", crc32fast::hash(text.as_bytes()))
}

/// The text of which `sealed` is the seal and the text; `None` where they don't fit.
pub(crate) fn unseal(sealed: &str) -> Option<&str> {
    let (seal, text) = sealed.split_at_checked(SEAL)?;
    let sum = u32::from_str_radix(seal.strip_suffix(' ')?, 16).ok()?;
    (sum == crc32fast::hash(text.as_bytes())).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_and_a_damaged_one_does_not() {
        for text in ["", "{}", "{\"wanted\":12}", "wéb"] {
            assert_eq!(unseal(&seal(text)), Some(text));
        }
        let sealed = seal("{\"wanted\":12}");
        assert_eq!(sealed, "7bd5b158 {\"wanted\":12}");
        for at in 0..sealed.len() {
            let mut bytes = sealed.clone().into_bytes();
            bytes[at] ^= 1;
            assert_eq!(unseal(std::str::from_utf8(&bytes).unwrap()), None, "byte {at}");
        }
        for short in ["", "7bd5b158", "{}"] {
            assert_eq!(unseal(short), None);
        }
    }
}
