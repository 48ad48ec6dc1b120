//! The numbers of what is watched: scripts and interfaces, by name.

use vrrp_proto::TrackerId;

use super::plan::Watched;

/// The numbers of what is watched.
#[derive(Debug, Default)]
pub(super) struct Trackers {
    names: Vec<(bool, String)>,
}

impl Trackers {
    pub(super) fn id(&mut self, watched: Watched<'_>) -> TrackerId {
        let (script, name) = match watched {
            Watched::Script(name) => (true, name),
            Watched::Interface(name) => (false, name),
        };
        let known = self.names.iter().position(|(s, n)| *s == script && n == name);
        let at = known.unwrap_or_else(|| {
            self.names.push((script, name.to_owned()));
            self.names.len() - 1
        });
        TrackerId(at as u32)
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
