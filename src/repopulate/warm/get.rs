//! Getting one URL into the store, by asking for it as a miss does, in the lowest class.
//!
//! What always holds: nothing is asked for that is fresh already; no more keys of one
//! origin are asked for at once than there is room; whoever has room waits until the key
//! is filled or given up, and tells it again when its event is about to expire.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::Semaphore;

use super::super::announce::{Announced, Announcer, Miss};
use super::super::event::Reason;
use super::super::lease::Unfillable;
use super::Sources;
use super::place::{Place, Url};
use crate::clock::Clock;
use crate::store::Store;
use crate::stored::StoredResponse;

/// Nothing is waited for any longer, for one key.
const GIVE_UP: Duration = Duration::from_secs(3600);
/// Between two attempts to tell what finds no room.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often a key may be filled without being found in the store.
const VAIN: u32 = 3;
/// The largest document that is read, once it is unpacked.
const MOST_READ: u64 = 50 * 1024 * 1024;

/// Gets URLs into the store.
pub struct Getter {
    /// Tells what is wanted.
    pub announcer: Announcer,
    /// Where it arrives.
    pub store: Arc<Store>,
    /// Wall time.
    pub clock: Clock,
    /// How long a miss event is of use.
    pub event_ttl: Duration,
}

/// What is in the store now.
pub struct Got {
    /// The response of those who take no coding.
    pub response: Arc<StoredResponse>,
    /// Whether all of it was there, and fresh.
    pub was_fresh: bool,
}

impl Getter {
    /// Gets a URL in all variants that clients may ask for, as far as they differ.
    pub async fn get(&self, url: &Url, sources: &Sources) -> Result<Got, String> {
        let place = url.place(None, &sources.sites).ok_or("no hidden route answers for it")?;
        let (response, mut was_fresh) = self.get_one(&place, sources).await?;
        for coding in place.asked.rules.encodings.iter() {
            let Some(place) = url.place(Some(coding), &sources.sites) else { continue };
            let asked = &place.asked;
            if response.head.secondary.matches(&asked.presented.fields, asked.rules.sort_accept_language) {
                continue;
            }
            was_fresh &= self.get_one(&place, sources).await?.1;
        }
        Ok(Got { response, was_fresh })
    }

    /// Gets one variant. Says whether it was there, and fresh.
    async fn get_one(&self, place: &Place, sources: &Sources) -> Result<(Arc<StoredResponse>, bool), String> {
        if let Some(fresh) = self.stored(place).filter(|stored| self.is_fresh(stored)) {
            return Ok((fresh, true));
        }
        let origin = place.asked.rules.origin.0;
        let _seat = match sources.room.get(origin) {
            Some(room) => Some(Semaphore::acquire(room).await.map_err(|closed| closed.to_string())?),
            None => None,
        };
        let before = self.stored(place);
        if let Some(fresh) = before.as_ref().filter(|stored| self.is_fresh(stored)) {
            return Ok((Arc::clone(fresh), true));
        }
        let (key, wants) = (place.wanted.id(), self.announcer.wants());
        let (end, mut vain) = (Instant::now() + GIVE_UP, 0);
        while Instant::now() < end {
            // It is waited for before it is told, so that no end of it is missed.
            let ended = wants.wait(key, self.event_ttl / 2);
            tokio::pin!(ended);
            let early = ended.as_mut().now_or_never();
            let told = self.announcer.miss(Miss {
                wanted: place.wanted.clone(),
                origin: sources.names.get(origin).map_or("", String::as_str),
                reason: Reason::Warm,
                stored: before.as_deref(),
                client: None,
                traceparent: None,
            });
            match told {
                Announced::Expected(_) if early.is_none() => vain += u32::from(ended.await),
                Announced::Expected(_) => {}
                Announced::HeldDown(why, _) => return Err(unfillable(&why)),
                Announced::NotNow(pause) | Announced::TooManyNew(pause) => {
                    tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
                }
            }
            let new = |stored: &Arc<StoredResponse>| {
                before.as_ref().is_none_or(|before| !Arc::ptr_eq(before, stored)) || self.is_fresh(stored)
            };
            if let Some(stored) = self.stored(place).filter(new) {
                return Ok((stored, false));
            }
            if vain > VAIN {
                return Err("it was got, and the store did not keep it".to_owned());
            }
        }
        Err("it was not filled in time".to_owned())
    }

    fn stored(&self, place: &Place) -> Option<Arc<StoredResponse>> {
        let asked = &place.asked;
        let found = self.store.find_in_memory(&asked.key)?;
        let selected = found.select(&asked.presented.fields, asked.rules.sort_accept_language);
        selected.filter(|stored| stored.is_complete()).cloned()
    }

    fn is_fresh(&self, stored: &StoredResponse) -> bool {
        stored.stale_for(self.clock.now()).is_none() && !stored.head.always_validate
    }
}

fn unfillable(why: &Unfillable) -> String {
    match why {
        Unfillable::NotStorable(reason) => format!("the response may not be stored: {reason}"),
        Unfillable::Failed => "the origin failed".to_owned(),
    }
}

/// The content of a stored response, unpacked where it is packed; at most so many bytes
/// of it. Takes a while.
pub fn content(response: &StoredResponse, most: u64) -> Result<Vec<u8>, String> {
    let most = most.min(MOST_READ);
    let chunks = response.body.chunks();
    let coding = response.head.fields.get_str("content-encoding").unwrap_or("identity").trim();
    let packed = chunks.first().is_some_and(|first| first.starts_with(&[0x1f, 0x8b]));
    let mut content = Vec::new();
    let read = if packed {
        let bytes = chunks.concat();
        flate2::read::MultiGzDecoder::new(&bytes[..]).take(most + 1).read_to_end(&mut content)
    } else if coding.eq_ignore_ascii_case("identity") {
        if response.body.len() <= most {
            content = chunks.concat();
        }
        Ok(usize::try_from(response.body.len()).unwrap_or(usize::MAX))
    } else {
        return Err(format!("its coding `{coding}` cannot be read"));
    };
    match read {
        Ok(length) if length as u64 > most => Err(format!("it is larger than {most} bytes")),
        Ok(_) => Ok(content),
        Err(error) => Err(format!("it cannot be unpacked: {error}")),
    }
}
