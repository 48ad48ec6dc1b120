//! Requests to nf_tables as the kernel reads them: nfnetlink messages with nested attributes, put into
//! one batch that is carried out whole or not at all.
//!
//! The numbers are of `linux/netfilter/nf_tables.h`; all in network order, but for the headers.

/// `NFNL_SUBSYS_NFTABLES`.
pub(super) const SUBSYSTEM: u8 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const FLAG_REQUEST: u16 = 1;
const FLAG_ACK: u16 = 4;
/// `NLM_F_CREATE`.
pub(super) const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`.
pub(super) const APPEND: u16 = 0x800;
/// Bytes of a netlink message's header.
const HEADER: usize = 16;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;

/// What a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// `NFT_MSG_NEWTABLE`.
    NewTable = 0,
    /// `NFT_MSG_GETTABLE`.
    GetTable = 1,
    /// `NFT_MSG_DELTABLE`.
    DeleteTable = 2,
    /// `NFT_MSG_NEWCHAIN`.
    NewChain = 3,
    /// `NFT_MSG_NEWRULE`.
    NewRule = 6,
    /// `NFT_MSG_NEWSET`.
    NewSet = 9,
    /// `NFT_MSG_NEWSETELEM`.
    NewElements = 12,
}

impl Request {
    /// The message's type.
    pub(super) const fn kind(self) -> u16 {
        (SUBSYSTEM as u16) << 8 | self as u16
    }
}

/// A batch being written. Sequence numbers count from 0.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
}

impl Batch {
    pub(super) fn new() -> Self {
        let mut batch = Self { bytes: Vec::new(), sequence: 0 };
        batch.frame(BATCH_BEGIN, FLAG_REQUEST, 0, u16::from(SUBSYSTEM), |_| {});
        batch
    }

    /// A question about a family by itself: it changes nothing, so it goes without a batch around it.
    pub(super) fn question(
        request: Request,
        family: u8,
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) -> Vec<u8> {
        let mut one = Self { bytes: Vec::new(), sequence: 0 };
        one.frame(request.kind(), FLAG_REQUEST, family, 0, attributes);
        one.bytes
    }

    /// Adds a request about a family (`NFPROTO_`); `attributes` writes what it says.
    pub(super) fn push(
        &mut self,
        request: Request,
        flags: u16,
        family: u8,
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) {
        self.frame(request.kind(), FLAG_REQUEST | FLAG_ACK | flags, family, 0, attributes);
    }

    /// Ends the batch. Gives its bytes and how many answers come where all is well.
    pub(super) fn finish(mut self) -> (Vec<u8>, u32) {
        let requests = self.sequence - 1;
        self.frame(BATCH_END, FLAG_REQUEST, 0, u16::from(SUBSYSTEM), |_| {});
        (self.bytes, requests)
    }

    fn frame(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        resource: u16,
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        debug_assert_eq!(self.bytes.len(), start + HEADER);
        // `struct nfgenmsg`: family, version 0, resource.
        self.bytes.extend_from_slice(&[family, 0]);
        self.bytes.extend_from_slice(&resource.to_be_bytes());
        attributes(&mut Attributes(&mut self.bytes));
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        self.sequence += 1;
    }
}

/// The attributes of a message, or of one that is nested.
#[derive(Debug)]
pub(super) struct Attributes<'b>(&'b mut Vec<u8>);

impl Attributes<'_> {
    /// Bytes as they are.
    pub(super) fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.write(kind, |inner| inner.extend_from_slice(value))
    }

    /// A number.
    pub(super) fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A text, with the zero that ends it.
    pub(super) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.write(kind, |inner| {
            inner.extend_from_slice(value.as_bytes());
            inner.push(0);
        })
    }

    /// Further attributes; together they must stay below 64 KiB.
    pub(super) fn nest(&mut self, kind: u16, inner: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        self.write(kind | NESTED, |bytes| inner(&mut Attributes(bytes)))
    }

    fn write(&mut self, kind: u16, value: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        value(self.0);
        let length = (self.0.len() - start) as u16;
        debug_assert_eq!(usize::from(length), self.0.len() - start, "an attribute too long");
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn bytes_of_a_batch() {
        let mut batch = Batch::new();
        batch.push(Request::NewTable, CREATE, 2, |table| {
            table.text(1, "xvrrp").nest(4, |inner| {
                inner.number(1, 0x0102_0304);
            });
        });
        let (bytes, answers) = batch.finish();
        assert_eq!(answers, 1);
        let expected = hex_literal::hex!(
            "14000000 1000 0100 00000000 00000000 00 00 000a"
            "2c000000 000a 0504 01000000 00000000 02 00 0000"
            "0a00 0100 787672727000 0000"
            "0c00 0480 0800 0100 01020304"
            "14000000 1100 0100 02000000 00000000 00 00 000a"
        );
        assert_eq!(bytes, expected);
    }
}
