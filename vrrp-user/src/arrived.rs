//! What was heard by several ways, in one order.

use vrrp_common::abi::Event;

/// Records of adverts, gathered from source after source.
///
/// Once it has had as many as there are at once, nothing here allocates.
#[derive(Debug, Default)]
pub struct Arrived {
    records: Vec<Event>,
    /// The records' times and numbers, in order; filled anew each time. To sort the records themselves, and
    /// leave those of one time as they came, would take memory.
    order: Vec<(u64, usize)>,
}

impl Arrived {
    /// None, with room for that many.
    pub fn with_capacity(records: usize) -> Self {
        Self { records: Vec::with_capacity(records), order: Vec::with_capacity(records) }
    }

    /// Adds one.
    pub fn push(&mut self, record: Event) {
        self.records.push(record);
    }

    /// All, in the order in which they were added.
    pub fn records(&self) -> &[Event] {
        &self.records
    }

    /// Takes all, by their arrival; of one time, in the order in which they were added.
    pub fn take(&mut self, mut each: impl FnMut(&Event)) {
        self.order.clear();
        let times = self.records.iter().enumerate().map(|(number, record)| (record.at, number));
        self.order.extend(times);
        self.order.sort_unstable();
        for (_, number) in &self.order {
            each(&self.records[*number]);
        }
        self.records.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_come_by_arrival_and_those_of_one_time_as_they_were_added() {
        let mut arrived = Arrived::with_capacity(2);
        for round in 0..2 {
            // More than a sort moves by insertion.
            for slot in 0..100 {
                let mut record: Event = bytemuck::Zeroable::zeroed();
                (record.at, record.slot) = (u64::from(slot * 7 % 10), slot);
                arrived.push(record);
            }
            assert_eq!(arrived.records().len(), 100);
            let mut seen = Vec::new();
            arrived.take(|record| seen.push((record.at, record.slot)));
            assert_eq!(seen.len(), 100, "{round}");
            assert!(seen.is_sorted(), "{seen:?}");
            assert!(arrived.records().is_empty());
        }
    }
}
