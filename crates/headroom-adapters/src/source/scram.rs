//! The client's side of SCRAM (RFC 5802, with the hashes of RFC 7677): a password is proved and never sent, and the server
//! proves that it knows it.
//!
//! Without channel binding, which Kafka does not speak, and without SASLprep: brokers take names and passwords as they
//! are.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256, Sha512};

use super::poll::ReadError;
use crate::secret::Secret;

/// Rounds that a server may ask for: Kafka's own most is 16 384, and a tenth of a second is spent on these.
const MOST_ROUNDS: u32 = 100_000;
/// The client's header: no channel binding, and no other name to act for.
const HEADER: &str = "n,,";

/// Which hash is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    /// The name of the mechanism.
    pub(super) fn mechanism(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    fn digest(self, text: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(text).to_vec(),
            Self::Sha512 => Sha512::digest(text).to_vec(),
        }
    }

    fn mac(self, key: &[u8], text: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => mac(&keyed::<Hmac<Sha256>>(key), text),
            Self::Sha512 => mac(&keyed::<Hmac<Sha512>>(key), text),
        }
    }

    fn salted(self, password: &[u8], salt: &[u8], rounds: u32) -> Vec<u8> {
        match self {
            Self::Sha256 => salted(&keyed::<Hmac<Sha256>>(password), salt, rounds),
            Self::Sha512 => salted(&keyed::<Hmac<Sha512>>(password), salt, rounds),
        }
    }
}

fn keyed<M: Mac + KeyInit>(key: &[u8]) -> M {
    <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn mac<M: Mac + Clone>(keyed: &M, text: &[u8]) -> Vec<u8> {
    keyed.clone().chain_update(text).finalize().into_bytes().to_vec()
}

/// `Hi` of the RFC, which is PBKDF2 with one block.
fn salted<M: Mac + Clone>(keyed: &M, salt: &[u8], rounds: u32) -> Vec<u8> {
    let mut last = mac(keyed, &[salt, &[0, 0, 0, 1]].concat());
    let mut all = last.clone();
    for _ in 1..rounds {
        last = mac(keyed, &last);
        xor(&mut all, &last);
    }
    all
}

fn xor(to: &mut [u8], with: &[u8]) {
    for (to, with) in to.iter_mut().zip(with) {
        *to ^= with;
    }
}

/// A conversation, before the server has said anything.
pub(super) struct Client {
    hash: Hash,
    password: Secret,
    nonce: String,
    bare: String,
}

/// A conversation in which the server has yet to prove itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Proved {
    signature: Vec<u8>,
}

impl Client {
    /// Begins with a name and a password; `nonce` is random, printable, and without a comma.
    pub(super) fn new(hash: Hash, user: &str, password: Secret, nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={user},r={nonce}");
        Self { hash, password, nonce, bare }
    }

    /// The first message.
    pub(super) fn first(&self) -> String {
        format!("{HEADER}{}", self.bare)
    }

    /// The last message, in answer to the server's first.
    ///
    /// # Errors
    /// Where that is none, or asks for more work than any server needs.
    pub(super) fn answer(self, server: &str) -> Result<(String, Proved), ReadError> {
        let garbage = |why: &str| ReadError::Garbage(format!("SCRAM: {why}"));
        let mut parts = server.split(',');
        let mut next = |key: &str| parts.next().and_then(|part| part.strip_prefix(key));
        let (Some(nonce), Some(salt), Some(rounds)) = (next("r="), next("s="), next("i=")) else {
            return Err(garbage("the server's first message is none"));
        };
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(garbage("the server's number does not go on from ours"));
        }
        let salt = BASE64.decode(salt).map_err(|_| garbage("the salt can't be read"))?;
        let rounds = rounds.parse().ok().filter(|rounds| (1..=MOST_ROUNDS).contains(rounds));
        let rounds = rounds.ok_or_else(|| garbage("it asks for too many rounds"))?;

        let hash = self.hash;
        let salted = hash.salted(self.password.expose().as_bytes(), &salt, rounds);
        let without_proof = format!("c={},r={nonce}", BASE64.encode(HEADER));
        let all = format!("{},{server},{without_proof}", self.bare);
        let mut proof = hash.mac(&salted, b"Client Key");
        let signature = hash.mac(&hash.digest(&proof), all.as_bytes());
        xor(&mut proof, &signature);
        let server_key = hash.mac(&salted, b"Server Key");
        let proved = Proved { signature: hash.mac(&server_key, all.as_bytes()) };
        Ok((format!("{without_proof},p={}", BASE64.encode(proof)), proved))
    }
}

impl Proved {
    /// Holds the server's last message against what only one that knows the password can say.
    ///
    /// # Errors
    /// Where it does not know it, or refuses ours.
    pub(super) fn by(&self, server: &str) -> Result<(), ReadError> {
        if let Some(why) = server.strip_prefix("e=") {
            return Err(ReadError::Refused(crate::http::first_words(why.as_bytes())));
        }
        let signature = server.split(',').next().and_then(|part| part.strip_prefix("v="));
        match signature.and_then(|text| BASE64.decode(text).ok()) {
            Some(signature) if signature == self.signature => Ok(()),
            _ => Err(ReadError::Refused(
                "the server does not know the password itself; see that the address is right".to_owned(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    /// The server's first message in RFC 7677, section 3.
    const SERVER: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    async fn client(hash: Hash, user: &str) -> Client {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), "pencil").unwrap();
        let place = headroom_core::fleet::SecretRef::File("password".into());
        let password = Secret::read(&place, folder.path()).await.unwrap();
        Client::new(hash, user, password, NONCE.to_owned())
    }

    #[tokio::test]
    async fn the_conversation_of_rfc_7677() {
        let client = client(Hash::Sha256, "user").await;
        assert_eq!(client.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (last, proved) = client.answer(SERVER).unwrap();
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        proved.by("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
        assert!(proved.by("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=").is_err());
        assert!(
            matches!(proved.by("e=invalid-proof"), Err(ReadError::Refused(why)) if why == "invalid-proof")
        );
    }

    /// The RFC has no conversation with this hash; these values were reckoned with Python's `hashlib`.
    #[tokio::test]
    async fn the_same_conversation_with_the_longer_hash() {
        let (last, proved) = client(Hash::Sha512, "user").await.answer(SERVER).unwrap();
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ=="
        );
        proved
            .by("v=ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==")
            .unwrap();
    }

    #[tokio::test]
    async fn a_name_is_escaped_and_a_server_that_cheats_is_refused() {
        assert_eq!(client(Hash::Sha256, "a=b,c").await.first(), format!("n,,n=a=3Db=2Cc,r={NONCE}"));
        for server in [
            "",
            "e=other-error",
            "r=another,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqO1,s=*,i=4096",
            "r=rOprNGfwEbeRWgbNEkqO1,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0",
            "r=rOprNGfwEbeRWgbNEkqO1,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=100001",
        ] {
            let answer = client(Hash::Sha256, "user").await.answer(server);
            assert!(
                matches!(answer, Err(ReadError::Garbage(_))),
                "{server}: {:?}",
                answer.map(|(last, _)| last)
            );
        }
    }
}
