//! Pseudo-random bytes that every peer can make from a seed, and their hashes.

use std::fmt::Write as _;

use futures::{AsyncWrite, AsyncWriteExt};
use sha2::{Digest, Sha256};
use sha3::Shake128;
use sha3::digest::{ExtendableOutput, Update, XofReader};

use crate::failure::Failure;

const BLOCK_SIZE: u64 = 64 * 1024;

/// `size` bytes in blocks: block *i* is SHAKE128(le64(seed) ‖ le64(i)), the last one cut.
pub fn blocks(size: u64, seed: u64) -> impl Iterator<Item = Vec<u8>> {
    (0..size.div_ceil(BLOCK_SIZE)).map(move |i| {
        let mut shake = Shake128::default();
        shake.update(&seed.to_le_bytes());
        shake.update(&i.to_le_bytes());
        let mut block = vec![0; BLOCK_SIZE.min(size - i * BLOCK_SIZE) as usize];
        shake.finalize_xof().read(&mut block);
        block
    })
}

/// Write them all.
pub async fn write<W: AsyncWrite + Unpin>(stream: &mut W, size: u64, seed: u64) -> Result<(), Failure> {
    for block in blocks(size, seed) {
        stream.write_all(&block).await?;
        give_way().await;
    }
    Ok(())
}

/// Let those have their turn who share this task: on mplex nobody may write all and read only then.
pub async fn give_way() {
    tokio::task::yield_now().await;
}

pub fn hex(hash: Sha256) -> String {
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
