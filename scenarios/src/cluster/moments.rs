//! Moments in the lives of members, told to whoever waits for them.

use tokio::sync::watch;
use veridical_raft::NodeId;

use crate::plan::Moment;

/// All moments of [`Moment`].
const MOMENTS: usize = 2;

/// Tells of each moment as it is observed.
#[derive(Debug, Default)]
pub(super) struct Moments(watch::Sender<[Observed; MOMENTS]>);

#[derive(Clone, Copy, Debug, Default)]
struct Observed {
    /// How often.
    count: u64,
    /// At which member last.
    member: NodeId,
}

const fn number(moment: Moment) -> usize {
    match moment {
        Moment::ConfigurationUncommitted => 0,
        Moment::ReadIndexAsked => 1,
    }
}

impl Moments {
    /// It is this moment at a member.
    pub(super) fn observe(&self, moment: Moment, member: NodeId) {
        if self.0.receiver_count() > 0 {
            self.0.send_modify(|observed| {
                let observed = &mut observed[number(moment)];
                *observed = Observed {
                    count: observed.count + 1,
                    member,
                };
            });
        }
    }

    /// Waits for the next such moment. Returns the member.
    pub(super) async fn next(&self, moment: Moment) -> NodeId {
        let mut receiver = self.0.subscribe();
        let count = receiver.borrow()[number(moment)].count;
        let observed = receiver
            .wait_for(|observed| observed[number(moment)].count > count)
            .await
            .expect("the sender is borrowed");
        observed[number(moment)].member
    }
}
