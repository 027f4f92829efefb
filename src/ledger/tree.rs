//! The Merkle tree of RFC 6962 §2.1: hashes, roots, inclusion and consistency proofs and their verification.
//!
//! Proofs are made from a slice of leaf hashes; where the hashes come from (rows, tiles) does not belong here.
//! Verification follows the algorithms of RFC 9162 §2.1.3.2 and §2.1.4.2, proofs the definitions of RFC 6962 §2.1.1 and
//! §2.1.2, so the two are written from different texts and test each other.

use peri_domain::Hash;
use sha2::{Digest, Sha256};

/// Hashes in the longest proof: one per bit of a 64-bit size, and one more for consistency.
pub const PROOF_MAX: usize = 65;

/// Hash of a leaf: SHA-256(0x00 ‖ data) (RFC 6962 §2.1).
#[must_use]
pub fn leaf_hash(data: &[u8]) -> Hash {
    let mut hash = Sha256::new_with_prefix([0x00]);
    hash.update(data);
    Hash(hash.finalize().into())
}

/// Hash of an inner node: SHA-256(0x01 ‖ left ‖ right) (RFC 6962 §2.1).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut hash = Sha256::new_with_prefix([0x01]);
    hash.update(left.as_bytes());
    hash.update(right.as_bytes());
    Hash(hash.finalize().into())
}

/// Root of a tree without leaves: SHA-256 of nothing (RFC 6962 §2.1).
#[must_use]
pub fn empty_root() -> Hash {
    Hash(Sha256::digest(b"").into())
}

/// A growing tree, as small as it can be: the roots of the perfect subtrees of its size, largest first (one for every
/// set bit of the size).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    roots: Vec<Hash>,
}

impl Frontier {
    /// A tree without leaves.
    #[must_use]
    pub const fn new() -> Self {
        Self { size: 0, roots: Vec::new() }
    }

    /// From stored parts; `None` when the number of roots does not fit the size. The caller compares [`Self::root`]
    /// with a signed one before he trusts it.
    #[must_use]
    pub fn from_parts(size: u64, roots: Vec<Hash>) -> Option<Self> {
        (usize::try_from(size.count_ones()) == Ok(roots.len())).then_some(Self { size, roots })
    }

    /// Number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the perfect subtrees, largest first.
    #[must_use]
    pub fn roots(&self) -> &[Hash] {
        &self.roots
    }

    /// Adds the hash of one leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        let mut carry = self.size;
        while carry & 1 == 1 {
            let left = self.roots.pop().expect("one root for every set bit of the size");
            hash = node_hash(&left, &hash);
            carry >>= 1;
        }
        self.roots.push(hash);
        self.size += 1;
    }

    /// The root over all leaves so far.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev();
        match roots.next() {
            None => empty_root(),
            Some(last) => roots.fold(*last, |right, left| node_hash(left, &right)),
        }
    }
}

/// Root over leaf hashes.
#[must_use]
pub fn root_of(leaves: &[Hash]) -> Hash {
    let mut frontier = Frontier::new();
    leaves.iter().for_each(|leaf| frontier.push(*leaf));
    frontier.root()
}

/// Largest power of two below `n`; `n` is at least 2.
const fn split(n: usize) -> usize {
    1 << (n - 1).ilog2()
}

/// Proof that leaf `index` is in the tree over `leaves` (PATH of RFC 6962 §2.1.1), nearest the leaf first; `None` when
/// there is no such leaf.
#[must_use]
pub fn inclusion_proof(leaves: &[Hash], index: u64) -> Option<Vec<Hash>> {
    let index = usize::try_from(index).ok().filter(|i| *i < leaves.len())?;
    let (mut low, mut high) = (0, leaves.len());
    let mut path = Vec::new();
    while high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            path.push(root_of(&leaves[middle..high]));
            high = middle;
        } else {
            path.push(root_of(&leaves[low..middle]));
            low = middle;
        }
    }
    path.reverse();
    Some(path)
}

/// Proof that the tree over the first `old_size` leaves is a beginning of the tree over `leaves` (PROOF of RFC 6962
/// §2.1.2); empty when both are equal or the old one is empty; `None` when it is larger.
#[must_use]
pub fn consistency_proof(leaves: &[Hash], old_size: u64) -> Option<Vec<Hash>> {
    let old = usize::try_from(old_size).ok().filter(|m| *m <= leaves.len())?;
    let mut path = Vec::new();
    if old == 0 || old == leaves.len() {
        return Some(path);
    }
    let (mut low, mut high, mut whole) = (0, leaves.len(), true);
    while high != old {
        let middle = low + split(high - low);
        if old <= middle {
            path.push(root_of(&leaves[middle..high]));
            high = middle;
        } else {
            path.push(root_of(&leaves[low..middle]));
            low = middle;
            whole = false;
        }
    }
    if !whole {
        path.push(root_of(&leaves[low..high]));
    }
    path.reverse();
    Some(path)
}

/// Whether `proof` shows that a leaf with this hash stands at `index` of the tree (RFC 9162 §2.1.3.2).
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether `proof` shows that the tree of `old_size` is a beginning of the tree of `new_size` (RFC 9162 §2.1.4.2; the
/// empty tree is a beginning of every tree, with the empty proof).
#[must_use]
pub fn verify_consistency(old_size: u64, old_root: &Hash, new_size: u64, new_root: &Hash, proof: &[Hash]) -> bool {
    if old_size > new_size {
        return false;
    }
    if old_size == new_size {
        return proof.is_empty() && old_root == new_root;
    }
    if old_size == 0 {
        return proof.is_empty() && *old_root == empty_root();
    }
    // A power of two is itself a node of the new tree, and the proof leaves it out.
    let (first, rest) = if old_size.is_power_of_two() {
        (old_root, proof)
    } else {
        match proof.split_first() {
            Some(parts) => parts,
            None => return false,
        }
    };
    let (mut node, mut last) = (old_size - 1, new_size - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut old, mut new) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old = node_hash(sibling, &old);
            new = node_hash(sibling, &new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && old == *old_root && new == *new_root
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// MTH of RFC 6962 §2.1, word for word.
    fn naive_root(leaves: &[Hash]) -> Hash {
        match leaves.len() {
            0 => empty_root(),
            1 => leaves[0],
            n => {
                let k = naive_split(n);
                node_hash(&naive_root(&leaves[..k]), &naive_root(&leaves[k..]))
            }
        }
    }

    fn naive_split(n: usize) -> usize {
        let mut k = 1;
        while k * 2 < n {
            k *= 2;
        }
        k
    }

    /// PATH of RFC 6962 §2.1.1.
    fn naive_path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
        let n = leaves.len();
        if n == 1 {
            return vec![];
        }
        let k = naive_split(n);
        let (mut path, other) = if m < k {
            (naive_path(m, &leaves[..k]), naive_root(&leaves[k..]))
        } else {
            (naive_path(m - k, &leaves[k..]), naive_root(&leaves[..k]))
        };
        path.push(other);
        path
    }

    /// SUBPROOF of RFC 6962 §2.1.2.
    fn naive_subproof(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        let n = leaves.len();
        if m == n {
            return if whole { vec![] } else { vec![naive_root(leaves)] };
        }
        let k = naive_split(n);
        let (mut path, other) = if m <= k {
            (naive_subproof(m, &leaves[..k], whole), naive_root(&leaves[k..]))
        } else {
            (naive_subproof(m - k, &leaves[k..], false), naive_root(&leaves[..k]))
        };
        path.push(other);
        path
    }

    fn leaves(n: usize) -> Vec<Hash> {
        (0..n as u64).map(|i| leaf_hash(&i.to_be_bytes())).collect()
    }

    #[test]
    fn the_empty_tree_and_the_first_leaf_have_the_published_hashes() {
        // Test data of the Certificate Transparency log code (RFC 6962): empty root, leaf of no data, root of eight.
        let hex = |h: Hash| h.to_string();
        assert_eq!(hex(empty_root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(hex(leaf_hash(b"")), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        let inputs: [&[u8]; 8] = [
            b"",
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
        ];
        let eight: Vec<_> = inputs.iter().map(|i| leaf_hash(i)).collect();
        assert_eq!(hex(root_of(&eight)), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }

    #[test]
    fn every_small_tree_agrees_with_the_naive_recursion() {
        for n in 1..=65 {
            let leaves = leaves(n);
            let root = naive_root(&leaves);
            assert_eq!(root_of(&leaves), root);
            for m in 0..n {
                let proof = inclusion_proof(&leaves, m as u64).unwrap();
                assert_eq!(proof, naive_path(m, &leaves));
                assert!(verify_inclusion(&leaves[m], m as u64, n as u64, &proof, &root));
                let proof = consistency_proof(&leaves, m as u64 + 1).unwrap();
                assert_eq!(proof, naive_subproof(m + 1, &leaves, true));
                assert!(verify_consistency(m as u64 + 1, &naive_root(&leaves[..=m]), n as u64, &root, &proof));
            }
        }
    }

    proptest! {
        #[test]
        fn a_proof_of_anything_else_is_refused(
            n in 2_usize..700, pick in any::<(u64, u64)>(), flip in any::<(u16, u8)>()
        ) {
            let leaves = leaves(n);
            let (n, root) = (n as u64, root_of(&leaves));
            let (index, other) = (pick.0 % n, pick.1 % n);
            let leaf = leaves[index as usize];
            let proof = inclusion_proof(&leaves, index).unwrap();
            prop_assert!(verify_inclusion(&leaf, index, n, &proof, &root));
            prop_assert_eq!(verify_inclusion(&leaf, other, n, &proof, &root), index == other);
            let mut longer = proof.clone();
            longer.push(leaf);
            prop_assert!(!verify_inclusion(&leaf, index, n, &longer, &root));
            prop_assert!(!verify_inclusion(&leaf, index, n, &proof[..proof.len() - 1], &root));

            let old = 1 + pick.1 % (n - 1);
            let old_root = root_of(&leaves[..old as usize]);
            let mut proof = consistency_proof(&leaves, old).unwrap();
            prop_assert!(verify_consistency(old, &old_root, n, &root, &proof));
            prop_assert!(!verify_consistency(old, &root, n, &root, &proof));
            prop_assert!(!verify_consistency(old, &old_root, n, &old_root, &proof));
            let at = flip.0 as usize % proof.len();
            proof[at].0[flip.1 as usize % 32] ^= 1;
            prop_assert!(!verify_consistency(old, &old_root, n, &root, &proof));
        }

        #[test]
        fn a_frontier_rebuilt_from_its_parts_goes_on_alike(n in 0_usize..300, more in 0_usize..80) {
            let leaves = leaves(n + more);
            let mut frontier = Frontier::new();
            leaves[..n].iter().for_each(|l| frontier.push(*l));
            let mut again = Frontier::from_parts(frontier.size(), frontier.roots().to_vec()).unwrap();
            leaves[n..].iter().for_each(|l| again.push(*l));
            prop_assert_eq!(again.root(), naive_root(&leaves));
        }
    }
}
