//! Tokens: what gives a fill the right to be kept.
//!
//! A token says which key it is for, in which variant, since which moment, and until
//! when, and carries a MAC over that (HMAC-SHA-256, RFC 2104) with a secret that
//! edges and workers share. Whoever fills returns it as it is. A worker's own fills
//! carry one that also covers the response itself, because they pass through a broker
//! to which others may write.
//!
//! What always holds: the first secret signs, all of them verify, so that they can be
//! changed one after the other; MACs are compared in constant time.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::event::Wanted;
use crate::clock::Wall;
use crate::invalidate::Moment;

/// The secrets that edges and workers share.
#[derive(Clone)]
pub struct Secrets {
    keys: Vec<Vec<u8>>,
}

/// What a token says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// What it is for.
    pub wanted: Wanted,
    /// What was invalidated after this moment is later than the response.
    pub moment: Moment,
    /// It holds until then, in milliseconds since 1970.
    pub expires_ms: u64,
    /// The digest of the response that it is for alone, if it is for one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
}

/// Why a token gives no right.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadToken {
    /// It is none, or was changed, or signed with another secret.
    #[error("the fill token is no good")]
    Forged,
    /// Its time is over.
    #[error("the fill token has expired")]
    Expired,
    /// It is for something else.
    #[error("the fill token is for another URL, variant or response")]
    Other,
}

/// The longest token that is looked at.
const LONGEST: usize = 32 * 1024;

impl Secrets {
    /// Secrets for this process alone.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut key = vec![0; 32];
        getrandom::fill(&mut key)?;
        Ok(Secrets { keys: vec![key] })
    }

    /// These secrets: the first signs. There is at least one.
    pub fn shared(secrets: &[String]) -> Option<Self> {
        let keys: Vec<Vec<u8>> = secrets.iter().map(|secret| secret.clone().into_bytes()).collect();
        (!keys.is_empty()).then_some(Secrets { keys })
    }

    /// The token of a claim.
    pub fn sign(&self, claim: &Claim) -> String {
        let said = serde_json::to_vec(claim).unwrap_or_default();
        let mac = self.keys.first().map(|key| mac(key, &said).finalize().into_bytes());
        let mac = mac.map(|mac| URL_SAFE_NO_PAD.encode(mac)).unwrap_or_default();
        format!("{}.{mac}", URL_SAFE_NO_PAD.encode(said))
    }

    /// What a token says, if it is good now.
    pub fn verify(&self, token: &str, now: Wall) -> Result<Claim, BadToken> {
        if token.len() > LONGEST {
            return Err(BadToken::Forged);
        }
        let (said, shown) = token.split_once('.').ok_or(BadToken::Forged)?;
        let said = URL_SAFE_NO_PAD.decode(said).map_err(|_| BadToken::Forged)?;
        let shown = URL_SAFE_NO_PAD.decode(shown).map_err(|_| BadToken::Forged)?;
        if !self.keys.iter().any(|key| mac(key, &said).verify_slice(&shown).is_ok()) {
            return Err(BadToken::Forged);
        }
        let claim: Claim = serde_json::from_slice(&said).map_err(|_| BadToken::Forged)?;
        if claim.expires_ms <= now.millis() {
            return Err(BadToken::Expired);
        }
        Ok(claim)
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.keys.len())
    }
}

fn mac(key: &[u8], said: &[u8]) -> Hmac<Sha256> {
    // A key of any length will do, so nothing is refused here.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&Default::default()));
    mac.update(b"forebay fill token 1\n");
    mac.update(said);
    mac
}

/// The digest of a response, part by part.
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    URL_SAFE_NO_PAD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Claim {
        let wanted =
            Wanted { scheme: "http".into(), host: "a".into(), port: 80, target: "/x".into(), vary: vec![] };
        Claim { wanted, moment: Moment::default(), expires_ms: 2_000, response: None }
    }

    #[test]
    fn a_token_is_good_for_its_time_and_as_it_is() {
        let secrets = Secrets::shared(&["new".to_owned(), "old".to_owned()]).expect("two");
        let token = secrets.sign(&claim());
        assert_eq!(secrets.verify(&token, Wall::from_millis(1_999)), Ok(claim()));
        assert_eq!(secrets.verify(&token, Wall::from_millis(2_000)), Err(BadToken::Expired));
        for at in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).expect("ASCII");
            if forged != token {
                // The last characters of base64 may have bits that say nothing.
                let said = secrets.verify(&forged, Wall::from_millis(0));
                assert!(said.is_err() || said == Ok(claim()), "changed at {at}");
            }
        }
        for text in ["", ".", "a.b", &token[1..]] {
            assert_eq!(secrets.verify(text, Wall::from_millis(0)), Err(BadToken::Forged), "{text}");
        }
    }

    #[test]
    fn secrets_are_changed_one_after_the_other() {
        let secrets = |all: &[&str]| {
            Secrets::shared(&all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>()).expect("some")
        };
        let old = secrets(&["old"]).sign(&claim());
        let now = Wall::from_millis(0);
        assert!(secrets(&["new", "old"]).verify(&old, now).is_ok());
        assert_eq!(secrets(&["new"]).verify(&old, now), Err(BadToken::Forged));
        assert!(Secrets::shared(&[]).is_none());
    }
}
