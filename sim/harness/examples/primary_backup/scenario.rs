//! What the harness is told of the system: its nodes, what its clients do, and what the
//! register is for the checker.

use std::io;
use std::time::Duration;
use veridical_checkers::{ObjectKind, ObjectModel};
use veridical_harness::{About, Ending, Named, PlantedName, System};
use veridical_histories::object::{Action, Answer, Request, Value};
use veridical_world::{Rng, SimEnvironment};

use crate::system::{Failover, read, serve, write};

const ADDRESSES: [&str; 2] = ["primary:1", "backup:1"];
const CLIENT_TIMEOUT: Duration = Duration::from_millis(300);

/// A register on two machines.
#[derive(Clone, Copy)]
pub struct Register;

impl System for Register {
    /// A client writes this value, or reads if there is none.
    type Op = Option<i64>;
    /// The machine that a client talks to, until that one does not answer.
    type Client = usize;

    fn about(&self) -> About {
        About {
            command: "cargo sim-example",
            text: "A register on a primary and a backup, simulated",
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn scenario(&self) -> Named {
        Named {
            name: "register",
            about: "machines that are cut off, paused and split",
        }
    }

    fn planted_bugs(&self) -> Vec<PlantedName> {
        vec![PlantedName {
            name: "eager-failover",
            hidden: None,
            scenario: None,
        }]
    }

    fn model(&self) -> ObjectModel {
        ObjectModel::new(ObjectKind::Register)
    }

    fn nodes(&self) -> &'static [&'static str] {
        &["primary", "backup"]
    }

    async fn serve(
        self,
        environment: SimEnvironment,
        node: usize,
        planted: Option<&'static str>,
    ) -> io::Result<()> {
        let backup = (node == 0).then_some(ADDRESSES[1]);
        let failover = planted.map_or(Failover::Never, |_| Failover::Eager);
        serve(environment, ADDRESSES[node], backup, failover).await
    }

    fn draw(&self, rng: &mut Rng, number: u64) -> Option<i64> {
        rng.chance(0.4).then_some(number as i64)
    }

    fn request(&self, op: &Option<i64>) -> Request {
        Request {
            key: Value::Nil,
            action: op.map_or(Action::Read, |value| Action::Write(value.into())),
        }
    }

    async fn call(
        &self,
        environment: &SimEnvironment,
        machine: &mut usize,
        op: &Option<i64>,
    ) -> Ending {
        let address = ADDRESSES[*machine];
        let answer = match *op {
            Some(value) => write(environment, address, value, CLIENT_TIMEOUT)
                .await
                .then_some(Answer::Done),
            None => read(environment, address, CLIENT_TIMEOUT)
                .await
                .map(|value| Answer::Value(shown(value))),
        };
        if answer.is_none() {
            *machine = 1 - *machine;
        }
        answer.map_or(Ending::Unknown, Ending::Done)
    }
}

/// The model begins with nil, the register with 0, which nobody writes.
fn shown(value: i64) -> Value {
    if value == 0 { Value::Nil } else { value.into() }
}
