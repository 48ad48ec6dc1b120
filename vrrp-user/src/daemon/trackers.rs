//! The numbers of what is watched: scripts and interfaces, by name.

use std::collections::BTreeMap;

use vrrp_proto::TrackerId;

use super::plan::Watched;

/// The numbers of what is watched.
#[derive(Debug, Default)]
pub(super) struct Trackers {
    names: Vec<(bool, String)>,
    /// The numbers of scripts and of interfaces, by name.
    numbers: [BTreeMap<String, u32>; 2],
}

impl Trackers {
    pub(super) fn id(&mut self, watched: Watched<'_>) -> TrackerId {
        let (script, name) = match watched {
            Watched::Script(name) => (true, name),
            Watched::Interface(name) => (false, name),
        };
        let numbers = &mut self.numbers[usize::from(!script)];
        if let Some(known) = numbers.get(name) {
            return TrackerId(*known);
        }
        let number = self.names.len() as u32;
        self.names.push((script, name.to_owned()));
        numbers.insert(name.to_owned(), number);
        TrackerId(number)
    }

    /// Whether it is or was asked how this interface is.
    pub(super) fn knows_interface(&self, name: &str) -> bool {
        self.numbers[1].contains_key(name)
    }

    pub(super) fn name(&self, id: TrackerId) -> String {
        match self.names.get(id.0 as usize) {
            Some((true, name)) => format!("script {name}"),
            Some((false, name)) => format!("interface {name}"),
            None => "something unknown".to_owned(),
        }
    }

    /// The interface with this number; `None`: it is a script, or unknown.
    pub(super) fn interface(&self, id: TrackerId) -> Option<&str> {
        let (script, name) = self.names.get(id.0 as usize)?;
        (!script).then_some(name.as_str())
    }

    pub(super) fn scripts(&self) -> impl Iterator<Item = (TrackerId, &str)> {
        let all = self.names.iter().enumerate();
        all.filter(|(_, (script, _))| *script)
            .map(|(at, (_, name))| (TrackerId(at as u32), name.as_str()))
    }

    pub(super) fn interfaces(&self) -> impl Iterator<Item = (TrackerId, &str)> {
        let all = self.names.iter().enumerate();
        all.filter(|(_, (script, _))| !script)
            .map(|(at, (_, name))| (TrackerId(at as u32), name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_and_an_interface_of_one_name_are_two() {
        let mut trackers = Trackers::default();
        let script = trackers.id(Watched::Script("eth0"));
        assert!(!trackers.knows_interface("eth0"));
        let interface = trackers.id(Watched::Interface("eth0"));
        let other = trackers.id(Watched::Interface("eth1"));
        assert_eq!([script.0, interface.0, other.0], [0, 1, 2]);
        assert_eq!(trackers.id(Watched::Script("eth0")), script);
        assert_eq!(trackers.id(Watched::Interface("eth0")), interface);
        assert_eq!(trackers.name(other), "interface eth1");
        assert!(trackers.knows_interface("eth0") && !trackers.knows_interface("eth2"));
        assert_eq!(trackers.scripts().collect::<Vec<_>>(), [(script, "eth0")]);
        let interfaces = trackers.interfaces().collect::<Vec<_>>();
        assert_eq!(interfaces, [(interface, "eth0"), (other, "eth1")]);
    }
}
