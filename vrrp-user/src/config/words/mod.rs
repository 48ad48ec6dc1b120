//! The words that keepalived knows, where each belongs, and what becomes of it here.

mod table;

use std::fmt;

/// Where a word can stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Outside all blocks.
    Root,
    /// `global_defs`.
    Global,
    /// `vrrp_script`.
    Script,
    /// `vrrp_instance`.
    Instance,
    /// `authentication`.
    Authentication,
    /// `vrrp_sync_group`.
    SyncGroup,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "outside all blocks",
            Self::Global => "`global_defs`",
            Self::Script => "`vrrp_script`",
            Self::Instance => "`vrrp_instance`",
            Self::Authentication => "`authentication`",
            Self::SyncGroup => "`vrrp_sync_group`",
        })
    }
}

/// What becomes of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Read and followed.
    Served,
    /// Nothing to do: without effect, for another program, or always so here.
    Ignored,
    /// Not served yet, and an instance sends and holds the same without it.
    Later(&'static str),
    /// Not served yet, and an instance would send or hold something else without it: not run.
    /// In `global_defs` that goes for every instance.
    Refused(&'static str),
}

/// What stands behind a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing.
    Flag,
    /// Perhaps `on`, `off`, `true`, `false`, `yes` or `no`.
    Bool,
    /// This many words at least and at most.
    Values(usize, usize),
    /// The rest of the line, one word at least.
    Line,
    /// `{ … }`.
    Block,
    /// A name and `{ … }`.
    Named,
    /// It is not looked at.
    Anything,
}

/// A word that keepalived knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// The word.
    pub(super) name: &'static str,
    /// Where it stands.
    pub(super) place: Place,
    /// What becomes of it.
    pub(super) class: Class,
    /// What stands behind it.
    pub(super) takes: Takes,
    /// What an instance sends, holds or gives up depends on it: lost, the instance is not run.
    pub(super) vital: bool,
}

/// The word in this place.
pub(super) fn lookup(place: Place, name: &str) -> Option<&'static Known> {
    in_place(place).find(|known| known.name == name)
}

/// All words of a place.
pub(super) fn in_place(place: Place) -> impl Iterator<Item = &'static Known> {
    table::ALL.iter().copied().flatten().filter(move |known| known.place == place)
}

/// The word in whichever place has it, those that people write most first.
pub(super) fn anywhere(name: &str) -> Option<&'static Known> {
    const PLACES: [Place; 6] = [
        Place::Instance,
        Place::Script,
        Place::Authentication,
        Place::Global,
        Place::Root,
        Place::SyncGroup,
    ];
    PLACES.into_iter().find_map(|place| lookup(place, name))
}

/// Other words that people use, and the one they mean.
pub(super) fn alias(place: Place, name: &str) -> Option<&'static Known> {
    let name = name.to_ascii_lowercase();
    let (_, _, meant) =
        table::ALIASES.iter().find(|(at, word, _)| *at == place && *word == name)?;
    lookup(place, meant)
}

/// Keywords of `global_defs`, and the instance's own that takes their place.
pub(super) const OWN_WORDS: [(&str, &str); 6] = [
    ("vrrp_strict", "strict_mode"),
    ("vrrp_version", "version"),
    ("vrrp_down_timer_adverts", "down_timer_adverts"),
    ("vrrp_owner_ignore_adverts", "owner_ignore_adverts"),
    ("vrrp_mcast_group4", "mcast_dst_ip"),
    ("vrrp_mcast_group6", "mcast_dst_ip"),
];

/// The instance's own keyword for one of `global_defs`.
pub(super) fn own(global: &str) -> Option<&'static str> {
    OWN_WORDS.iter().find(|(word, _)| *word == global).map(|(_, own)| *own)
}

/// What to write instead of a word that is not served.
pub(super) fn instead(name: &str) -> Option<&'static str> {
    Some(match name {
        "track_file" | "track_process" | "track_bfd" => "a `vrrp_script` can watch the same",
        "net_namespace" => "start it there: `ip netns exec NAME xvrrp …`",
        _ => return None,
    })
}

/// Says whether a block of this word has a name.
pub(super) fn names_block(name: &str) -> bool {
    in_place(Place::Root).any(|known| known.name == name && known.takes == Takes::Named)
}

/// Says whether this word never stands without a block.
pub(super) fn opens_block(name: &str) -> bool {
    table::ALL.iter().copied().flatten().any(|known| {
        known.name == name
            && known.class == Class::Served
            && matches!(known.takes, Takes::Block | Takes::Named)
    })
}

/// Says whether this word begins a block, and only outside all others.
pub(super) fn begins_file_block(name: &str) -> bool {
    table::FILE_BLOCKS.contains(&name)
}

/// Says whether this block is about LVS or health checks of servers: keepalived's other half.
pub(super) fn is_lvs(name: &str) -> bool {
    table::LVS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_stands_twice_in_a_place() {
        let all: Vec<_> = table::ALL.iter().copied().flatten().collect();
        for (i, known) in all.iter().enumerate() {
            let twin = all[..i].iter().find(|k| k.name == known.name && k.place == known.place);
            assert!(twin.is_none(), "{known:?}");
        }
    }

    #[test]
    fn the_manual_page_has_every_word_that_is_served() {
        let page = include_str!("../../../../docs/xvrrp.8").replace("\\-", "-");
        let words: Vec<&str> =
            page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
        let all = table::ALL.iter().copied().flatten();
        for known in all.filter(|known| known.class == Class::Served) {
            assert!(words.contains(&known.name), "{known:?}");
        }
    }

    #[test]
    fn aliases_lead_somewhere_and_hide_nothing() {
        for (place, word, meant) in table::ALIASES {
            assert!(lookup(*place, meant).is_some(), "{meant}");
            assert!(lookup(*place, word).is_none(), "{word}");
        }
    }

    #[test]
    fn blocks_of_the_file_are_words_of_the_file() {
        for name in table::FILE_BLOCKS {
            assert!(lookup(Place::Root, name).is_some() || is_lvs(name), "{name}");
            assert!(lookup(Place::Instance, name).is_none(), "{name}");
        }
    }
}
