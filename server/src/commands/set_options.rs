//! The options of SET and GETEX: condition, reply, expiry.
//!
//! Owns which of them go together. A time is read only when [`Options::expiry`] is asked for it,
//! because GETEX must not complain of it when the key is absent.

use bailiwick_frame::Args;

use super::parse::{Base, Unit, positive_expiry_ms};
use super::{CommandError, Outcome};
use crate::keyspace::Expiry;

/// Whose options are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Setter {
    Set,
    Getex,
}

/// When SET stores.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition<'a> {
    Absent,
    Present,
    /// The key holds this string.
    Equal(&'a [u8]),
}

/// What is to become of the expiry; a time still has to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ttl {
    Keep,
    Persist,
    Ex,
    Px,
    Exat,
    Pxat,
}

impl Ttl {
    /// The option of this name, if `setter` has it.
    fn named(name: &[u8], setter: Setter) -> Option<Self> {
        let own = match setter {
            Setter::Set => ("keepttl", Self::Keep),
            Setter::Getex => ("persist", Self::Persist),
        };
        let times = [
            ("ex", Self::Ex),
            ("px", Self::Px),
            ("exat", Self::Exat),
            ("pxat", Self::Pxat),
            own,
        ];
        let is_named = |(option, _): &(&str, Self)| name.eq_ignore_ascii_case(option.as_bytes());
        times.into_iter().find(is_named).map(|(_, ttl)| ttl)
    }

    fn has_time(self) -> bool {
        !matches!(self, Self::Keep | Self::Persist)
    }
}

/// The options behind the key (and value). An option may be repeated, the last time counts;
/// options that contradict one another are refused.
#[derive(Clone, Copy)]
pub(super) struct Options<'a> {
    pub(super) condition: Option<Condition<'a>>,
    pub(super) get: bool,
    /// Whether what is stored gets a fencing token, which is then the reply.
    pub(super) fence: bool,
    pub(super) ttl: Option<Ttl>,
    /// The argument of `ttl`; empty if it has none.
    time: &'a [u8],
}

impl<'a> Options<'a> {
    /// Reads the arguments from `first` on.
    pub(super) fn parse(
        args: Args<'a>,
        first: usize,
        setter: Setter,
    ) -> Result<Self, CommandError> {
        let mut options = Self {
            condition: None,
            get: false,
            fence: false,
            ttl: None,
            time: &[],
        };
        let mut rest = args.from(first).iter();
        while let Some(option) = rest.next() {
            let is = |name: &[u8]| setter == Setter::Set && option.eq_ignore_ascii_case(name);
            if is(b"nx") {
                options.demand(Condition::Absent)?;
            } else if is(b"xx") {
                options.demand(Condition::Present)?;
            } else if is(b"ifeq") {
                let wanted = rest.next().ok_or(CommandError::Syntax)?;
                options.demand(Condition::Equal(wanted))?;
            } else if is(b"fence") {
                options.fence = true;
            } else if is(b"get") {
                options.get = true;
            } else {
                let ttl = Ttl::named(option, setter).ok_or(CommandError::Syntax)?;
                if options.ttl.is_some_and(|other| other != ttl) {
                    return Err(CommandError::Syntax);
                }
                options.ttl = Some(ttl);
                if ttl.has_time() {
                    options.time = rest.next().ok_or(CommandError::Syntax)?;
                }
            }
        }
        // There is one reply.
        if options.get && options.fence {
            return Err(CommandError::Syntax);
        }
        Ok(options)
    }

    fn demand(&mut self, condition: Condition<'a>) -> Outcome {
        if self.condition.is_some_and(|other| other != condition) {
            return Err(CommandError::Syntax);
        }
        self.condition = Some(condition);
        Ok(())
    }

    /// What becomes of the expiry; `command` is the name for the error about its time.
    pub(super) fn expiry(&self, now_ms: i64, command: &str) -> Result<Expiry, CommandError> {
        let (unit, base) = match self.ttl {
            None | Some(Ttl::Persist) => return Ok(Expiry::None),
            Some(Ttl::Keep) => return Ok(Expiry::Keep),
            Some(Ttl::Ex) => (Unit::Seconds, Base::Now(now_ms)),
            Some(Ttl::Px) => (Unit::Milliseconds, Base::Now(now_ms)),
            Some(Ttl::Exat) => (Unit::Seconds, Base::Epoch),
            Some(Ttl::Pxat) => (Unit::Milliseconds, Base::Epoch),
        };
        positive_expiry_ms(self.time, unit, base, command).map(Expiry::At)
    }
}
