//! The validator, through its public face: each reason by itself, address lists, the handed packets,
//! and properties over all adverts.

#[cfg(test)]
mod addresses;
#[cfg(test)]
mod handed;
#[cfg(test)]
mod ipv6;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod reasons;
#[cfg(test)]
mod support;
#[cfg(test)]
mod unicast;
