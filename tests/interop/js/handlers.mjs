// What remotes find here, and how their streams ended.
import { servePerf } from './perf.mjs'
import { consume, echo } from './streams.mjs'

const MAX_STREAMS = 1024
const LIMITS = { maxInboundStreams: MAX_STREAMS, maxOutboundStreams: MAX_STREAMS }

export const ECHO = '/echo/1.0.0'
export const SINK = '/test/sink/1.0.0'
export const RESET = '/test/reset/1.0.0'
export const RESET_ME = '/test/reset-me/1.0.0'
export const HALF = '/test/half/1.0.0'
export const HALF_FIRST = '/test/half-first/1.0.0'
export const PERF = '/perf/1.0.0'
const STOCK = '/test/stock/1.0.0'

const text = new TextEncoder()

const handlers = {
  echo: [ECHO, echo],
  sink: [SINK, async (stream) => {
    const bytes = await consume(stream)
    await stream.close()
    return bytes
  }],
  reset: [RESET, (stream) => new Promise((resolve, reject) => {
    consume(stream, () => {
      stream.abort(new Error('asked to reset')) // js-yamux carries no code
      resolve(null)
    }).catch(reject)
  })],
  reset_me: [RESET_ME, async (stream) => {
    stream.send(text.encode('r'))
    const bytes = await consume(stream)
    await stream.close()
    return bytes
  }],
  half: [HALF, async (stream) => {
    const bytes = await consume(stream)
    stream.send(text.encode(`done:${bytes}`))
    await stream.close()
    return bytes
  }],
  half_first: [HALF_FIRST, async (stream) => {
    const read = consume(stream)
    stream.send(text.encode('hello'))
    await Promise.all([stream.close(), read])
    return await read
  }],
  perf: [PERF, servePerf],
  // As the library's own documentation writes handlers: it waits for ever where an end was told to nobody.
  stock: [STOCK, async (stream) => {
    let bytes = 0
    for await (const chunk of stream) {
      bytes += chunk.byteLength
    }
    await stream.close()
    return bytes
  }]
}

/** Serve one more protocol, which the library tells whoever is connected. */
export async function handle (node, protocol) {
  await node.handle(protocol, async (stream) => {
    await consume(stream)
    await stream.close()
  }, LIMITS)
}

/** Counters per protocol, and a way to wait for a change of anything. */
export class Tallies {
  #waiters = new Set()
  streams = {}

  async serve (node) {
    for (const [name, [protocol, handle]] of Object.entries(handlers)) {
      const tally = { opened: 0, eof: 0, eof_bytes: 0, reset: 0, other: 0, last_code: null }
      this.streams[name] = tally
      await node.handle(protocol, (stream) => {
        this.change(() => { tally.opened++ })
        handle(stream).then(
          (bytes) => this.change(() => {
            if (bytes !== null) { // null: our own reset ended it
              tally.eof++
              tally.eof_bytes += bytes
            }
          }),
          (error) => this.change(() => {
            if (error.name === 'StreamResetError') {
              tally.reset++
            } else {
              tally.other++
              console.error(protocol, error)
            }
          })
        )
      }, LIMITS)
    }
  }

  change (apply) {
    apply()
    for (const check of this.#waiters) {
      check()
    }
  }

  /** Resolves once ready() is true; rejects when the signal fires. */
  wait (ready, signal) {
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#waiters.delete(check)
        signal.removeEventListener('abort', expire)
      }
      const check = () => {
        if (ready()) {
          leave()
          resolve()
        }
      }
      const expire = () => {
        leave()
        reject(signal.reason)
      }
      this.#waiters.add(check)
      signal.addEventListener('abort', expire)
      check()
    })
  }
}
