//! What a panic said, for the report about the process in which it happened.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::PanicHookInfo;
use std::sync::Once;

thread_local! {
    static WATCHING: Cell<Watching> = const { Cell::new(Watching::No) };
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Watching {
    No,
    Printing,
    Quietly,
}

/// While it lives, panics on this thread are noted, and printed unless it is quiet.
pub(super) struct PanicWatch(());

impl PanicWatch {
    /// Begins to watch this thread.
    pub(super) fn begin(quiet: bool) -> Self {
        static INSTALL: Once = Once::new();
        INSTALL.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                let watching = WATCHING.get();
                if watching != Watching::No {
                    LAST.with_borrow_mut(|last| *last = Some(describe(info)));
                }
                if watching != Watching::Quietly {
                    before(info);
                }
            }));
        });
        WATCHING.set(if quiet {
            Watching::Quietly
        } else {
            Watching::Printing
        });
        LAST.with_borrow_mut(|last| *last = None);
        Self(())
    }
}

impl Drop for PanicWatch {
    fn drop(&mut self) {
        WATCHING.set(Watching::No);
    }
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let text = payload_text(info.payload());
    match info.location() {
        Some(location) => format!("{text} ({}:{})", location.file(), location.line()),
        None => text,
    }
}

fn payload_text(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a text".to_owned()
    }
}

/// What the last panic on this thread said, and where it was; `payload` is used if
/// nobody watched.
pub(super) fn take_last(payload: Option<&(dyn Any + Send)>) -> String {
    LAST.with_borrow_mut(Option::take)
        .or_else(|| payload.map(payload_text))
        .unwrap_or_else(|| "a panic without a text".to_owned())
}
