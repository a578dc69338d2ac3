//! The node's log: lines or JSON on standard error, through `tracing`.
//!
//! Installed once, by [`start`]; the [`Logging`] it returns changes the level while the node runs.
//! Standard error is never waited for longer than a write takes, and a failed write is dropped:
//! logging does not stop the node.

use std::fmt;
use std::io;

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::{LogFormat, LogLevel, Settings};

/// The running log.
#[derive(Clone)]
pub struct Logging {
    level: reload::Handle<LevelFilter, Registry>,
}

/// The log could not be installed: the process has one already.
#[derive(Debug, thiserror::Error)]
#[error("the log is already set up: {0}")]
pub struct AlreadyStarted(#[from] TryInitError);

/// Sets up the log for the process.
///
/// # Errors
/// It has been set up before.
pub fn start(settings: &Settings) -> Result<Logging, AlreadyStarted> {
    let (subscriber, logging) = build(settings, io::stderr);
    subscriber.try_init()?;
    Ok(logging)
}

impl Logging {
    /// Changes the least severe level that is logged.
    pub fn set_level(&self, level: LogLevel) {
        // It fails only if the subscriber is gone, and then nothing is logged at any level.
        let _ = self.level.reload(filter(level));
    }

    /// The level that is in force.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        self.level.clone_current().and_then(LevelFilter::into_level)
    }

    /// A log for the current thread alone, to `writer`; it ends with the guard.
    #[must_use]
    pub fn scoped<W>(settings: &Settings, writer: W) -> (Self, DefaultGuard)
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        let (subscriber, logging) = build(settings, writer);
        (logging, subscriber.set_default())
    }
}

impl fmt::Debug for Logging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logging")
            .field("level", &self.level())
            .finish()
    }
}

fn build<W>(settings: &Settings, writer: W) -> (impl SubscriberInitExt, Logging)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (level, handle) = reload::Layer::new(filter(settings.log_level));
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer = match settings.log_format {
        // Colours are for terminals; the text goes into files and journals as well.
        LogFormat::Text => layer.with_ansi(false).with_target(false).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // The level stands outermost, so that what is not logged is not even formatted.
    let subscriber = Registry::default().with(level).with(layer);
    (subscriber, Logging { level: handle })
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(settings: &Settings, f: impl FnOnce(&Logging)) -> String {
        let memory = Memory::default();
        let copy = memory.clone();
        let (logging, guard) = Logging::scoped(settings, move || copy.clone());
        f(&logging);
        drop(guard);
        let bytes = memory.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_level_changes_while_the_log_runs() {
        let text = logged(&Settings::default(), |logging| {
            tracing::debug!("one");
            logging.set_level(LogLevel::Debug);
            tracing::debug!("two");
            logging.set_level(LogLevel::Error);
            tracing::warn!("three");
            assert_eq!(logging.level(), Some(Level::ERROR));
        });
        assert!(text.contains("two"), "{text}");
        assert!(!text.contains("one") && !text.contains("three"), "{text}");
    }

    #[test]
    fn text_lines_begin_with_a_timestamp_and_bear_fields() {
        let text = logged(&Settings::default(), |_| {
            tracing::info!(port = 6379, "listening")
        });
        assert!(
            text.starts_with("20") && text.contains("listening port=6379"),
            "{text}"
        );
    }

    #[test]
    fn json_lines_are_one_object_each() {
        let settings = Settings {
            log_format: LogFormat::Json,
            ..Settings::default()
        };
        let text = logged(&settings, |_| tracing::warn!(bytes = 3, "low"));
        let line = text.trim_end();
        assert!(
            line.starts_with('{') && line.ends_with('}') && !line.contains('\n'),
            "{line}"
        );
        assert!(
            line.contains("\"message\":\"low\"") && line.contains("\"bytes\":3"),
            "{line}"
        );
    }
}
