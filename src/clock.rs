//! Wall and monotonic time.
//!
//! Ages and dates use wall time ([`Wall`]), deadlines use monotonic time
//! ([`tokio::time::Instant`]). A request reads the clock once and passes the
//! value on. This is the only file that asks the system for the wall time.
//!
//! Wall time may jump; every difference of two [`Wall`]s saturates at zero.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment of wall time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Wall(u64);

impl Wall {
    /// The moment `milliseconds` after the Unix epoch.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Wall(milliseconds)
    }

    /// The moment `seconds` after the Unix epoch; saturates at the end of time.
    pub const fn from_secs(seconds: u64) -> Self {
        Wall(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// How long ago `earlier` was; zero when it lies in the future.
    pub const fn since(self, earlier: Wall) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This moment and `later` more; saturates at the end of time.
    pub fn plus(self, later: Duration) -> Wall {
        Wall(self.0.saturating_add(u64::try_from(later.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Year, month and day in UTC.
    pub const fn date(self) -> (u64, u64, u64) {
        // Days since 0000-03-01, in which a leap day is the last day of its year.
        let days = self.secs() / 86_400 + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        (era * 400 + year_of_era + (month <= 2) as u64, month, day)
    }

    /// As RFC 3339 writes it, in UTC, to the millisecond: `2026-11-23T18:05:48.123Z`. Of a year
    /// beyond 9999 it has the last four digits.
    pub fn rfc3339(self) -> [u8; 24] {
        let (year, month, day) = self.date();
        let (hour, minute, second) = (self.secs() / 3600 % 24, self.secs() / 60 % 60, self.secs() % 60);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let numbers = [
            (0..4, year),
            (5..7, month),
            (8..10, day),
            (11..13, hour),
            (14..16, minute),
            (17..19, second),
            (20..23, self.millis() % 1000),
        ];
        for (place, number) in numbers {
            let mut rest = number;
            for digit in text[place].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        text
    }

    /// As the standard library knows it, for formatting.
    pub fn to_system_time(self) -> SystemTime {
        UNIX_EPOCH.checked_add(Duration::from_millis(self.0)).unwrap_or(UNIX_EPOCH)
    }
}

/// Where wall time comes from: the system, or a test's hand.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's real-time clock.
    #[default]
    System,
    /// Stands still until it is [advanced](Clock::advance).
    Manual(Arc<AtomicU64>),
    /// Showed this wall time at that moment, and goes as [`monotonic`] time does, which a
    /// test may pause.
    Paced(Wall, Instant),
}

/// Monotonic time now, for deadlines of what takes its time as an argument. A test that
/// pauses the runtime's time pauses this.
pub fn monotonic() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Clock {
    /// A clock that stands at `now` until it is advanced.
    pub fn manual(now: Wall) -> Self {
        Clock::Manual(Arc::new(AtomicU64::new(now.millis())))
    }

    /// The wall time now.
    pub fn now(&self) -> Wall {
        match self {
            Clock::System => {
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Wall(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
            }
            Clock::Manual(millis) => Wall(millis.load(Ordering::SeqCst)),
            Clock::Paced(wall, at) => wall.plus(monotonic().saturating_duration_since(*at)),
        }
    }

    /// Moves a manual clock forward; the others are left alone.
    pub fn advance(&self, by: Duration) {
        if let Clock::Manual(millis) = self {
            let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
            millis.fetch_add(by, Ordering::SeqCst);
        }
    }
}
