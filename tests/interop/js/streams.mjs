// Reading and writing js-libp2p streams, whatever they were through before their handler ran.
import { createHash } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'

const BLOCK_SIZE = 64 * 1024

/** Feed every chunk to onChunk; resolves with the byte count at EOF, rejects when the stream was reset or aborted. */
export function consume (stream, onChunk = () => {}) {
  return new Promise((resolve, reject) => {
    let bytes = 0
    const broken = () => stream.status === 'reset' || stream.status === 'aborted'
    const ended = (error) => {
      if (error != null) {
        reject(error)
      } else if (broken()) {
        reject(named(stream.status === 'reset' ? 'StreamResetError' : 'StreamAbortedError', `stream was ${stream.status}`))
      } else {
        resolve(bytes)
      }
    }
    stream.addEventListener('end', () => {
      if (!broken()) { // else 'close' follows, with the error
        ended()
      }
    })
    stream.addEventListener('close', (event) => ended(event.error))
    // Negotiation reads ahead and puts back what is ours, at times after 'end', which is dispatched but once.
    const endedEarlier = () => (stream.readableEnded || stream.status !== 'open') && stream.readBufferLength === 0
    stream.addEventListener('message', (event) => {
      bytes += event.data.byteLength
      onChunk(event.data)
      if (endedEarlier()) {
        ended()
      }
    })
    if (endedEarlier()) {
      ended()
    }
  })
}

/** Send a chunk and wait while the stream wants no more; others have their turn in any case. */
export async function send (stream, chunk, signal) {
  if (!stream.send(chunk)) {
    await stream.onDrain({ signal })
  }
  await setImmediate()
}

/** Echo until EOF; resolves with the byte count. */
export async function echo (stream) {
  const bytes = await consume(stream, (chunk) => {
    if (stream.send(chunk) || stream.readStatus !== 'readable') {
      return
    }
    stream.pause()
    stream.onDrain().then(() => {
      if (stream.readStatus === 'paused') {
        stream.resume()
      }
    }, () => {}) // the stream died: consume() tells
  })
  await stream.close()
  return bytes
}

/** n pseudo-random bytes in blocks: block i is SHAKE128(le64(seed) || le64(i)). */
export function * pseudoRandom (n, seed) {
  for (let i = 0; n > 0; i++) {
    const name = Buffer.alloc(16)
    name.writeBigUInt64LE(BigInt(seed), 0)
    name.writeBigUInt64LE(BigInt(i), 8)
    const block = createHash('shake128', { outputLength: Math.min(n, BLOCK_SIZE) }).update(name).digest()
    yield block
    n -= block.length
  }
}

export function named (name, message) {
  const error = new Error(message)
  error.name = name
  return error
}
