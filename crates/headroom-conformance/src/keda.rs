use crate::{Answer, Given};

pub(crate) fn answer(_kind: &str, _given: Given<'_>) -> Option<Answer> {
    None
}
