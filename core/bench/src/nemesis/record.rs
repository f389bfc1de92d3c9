//! A fault that was injected, for the report.

use std::fmt;

use serde::Serialize;

/// A fault that was injected.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FaultRecord {
    /// Since measuring began.
    pub(crate) at_ms: u64,
    pub(crate) fault: &'static str,
    pub(crate) member: String,
    /// Which one of its kind it was, if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
    /// Until the member was started or resumed, or could reach the others again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lasted_ms: Option<u64>,
    /// From then on until it served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) caught_up_after_ms: Option<u64>,
}

impl fmt::Display for FaultRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.at_ms as f64 / 1_000.0;
        write!(f, "{seconds:>9.3} s  {:<11}{}", self.fault, self.member)?;
        if let Some(detail) = &self.detail {
            write!(f, " ({detail})")?;
        }
        if let Some(lasted_ms) = self.lasted_ms {
            write!(f, " for {lasted_ms} ms")?;
        }
        match self.caught_up_after_ms {
            Some(after_ms) => write!(f, ", served {after_ms} ms later"),
            None => write!(f, ", not seen to serve again"),
        }
    }
}
