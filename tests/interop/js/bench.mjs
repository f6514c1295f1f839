// The benchmark commands of the control contract (../README.md, "Benchmarks").
import { randomBytes } from 'node:crypto'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { multiaddr } from '@multiformats/multiaddr'
import { consume, echo, named } from './streams.mjs'

const SINK = '/bench/sink/1.0.0'
const ANSWER = '/bench/answer/1.0.0'
const SMALL = 32
const COUNT = 8
const DIALS_AT_ONCE = 16
const MANY = { maxInboundStreams: 1024, maxOutboundStreams: 1024 }

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc')

export class Bench {
  #node
  #another
  #crowd = [] // of nodes, and their connections
  #pinging = [] // a stream on each of these, once they ping, and its answers
  #listening = [] // nodes that others dial

  constructor (node, another) {
    this.#node = node
    this.#another = another
  }

  async serve () {
    await this.#node.handle(SINK, (stream) => { sink(stream).catch(complain) }, MANY)
    await serveAnswers(this.#node)
  }

  /** The command's function, or undefined. */
  command (name) {
    return {
      bench_usage: usage,
      bench_bulk: this.#bulk,
      bench_requests: this.#requests,
      bench_round_trips: this.#roundTrips,
      bench_beside: this.#beside,
      bench_pings: this.#pings,
      bench_handshakes: this.#handshakes,
      bench_crowd: this.#gather,
      bench_listening_crowd: this.#gatherListening,
      bench_dials: this.#dialAll,
      bench_disperse: this.#disperse
    }[name]?.bind(this)
  }

  async #bulk ({ addr, bytes, write, streams = 1, crowd = false }, signal) {
    const connections = crowd
      ? this.#crowd.map(({ connection }) => connection)
      : Array(streams).fill(await this.#node.dial(multiaddr(addr), { signal }))
    const each = Math.floor(bytes / connections.length)
    const data = new Uint8Array(randomBytes(write))
    const shares = []
    const begin = performance.now()
    await Promise.all(connections.map(async (connection) => {
      await pour(connection, each, data, signal)
      shares.push(microsSince(begin))
    }))
    return { micros: microsSince(begin), bytes: each * connections.length, shares }
  }

  async #requests ({ addr, count, at_once: atOnce = 1 }, signal) {
    const connection = await this.#node.dial(multiaddr(addr), { signal })
    const samples = []
    let left = count
    const begin = performance.now()
    await Promise.all(Array.from({ length: atOnce }, async () => {
      while (left-- > 0) {
        const asked = performance.now()
        await ask(connection, signal)
        samples.push(microsSince(asked))
      }
    }))
    return { micros: microsSince(begin), samples }
  }

  async #roundTrips ({ addr, count }, signal) {
    const connection = await this.#node.dial(multiaddr(addr), { signal })
    const stream = await connection.newStream(ANSWER, { signal, ...MANY })
    const answers = new Answers(stream)
    await askOn(stream, answers)
    const samples = []
    const begin = performance.now()
    for (let i = 0; i < count; i++) {
      const asked = performance.now()
      await askOn(stream, answers)
      samples.push(microsSince(asked))
    }
    const micros = microsSince(begin)
    await stream.close({ signal })
    return { micros, samples }
  }

  /** Asks and is answered on one stream while bulk goes on on another. */
  async #beside ({ addr, bytes, write, millis, pause }, signal) {
    const connection = await this.#node.dial(multiaddr(addr), { signal })
    const asking = await connection.newStream(ANSWER, { signal, ...MANY })
    const answers = new Answers(asking)
    await askOn(asking, answers)
    const bulk = await connection.newStream(SINK, { signal, ...MANY })
    const counted = new Answers(bulk)
    const data = new Uint8Array(randomBytes(write))
    const saturated = Promise.withResolvers()
    const samples = []
    let done = false
    const askAgainAndAgain = async () => {
      await saturated.promise
      for (const until = performance.now() + millis; performance.now() < until;) {
        const asked = performance.now()
        await askOn(asking, answers)
        samples.push(microsSince(asked))
        await setTimeout(pause)
      }
      done = true
      await asking.close({ signal })
    }
    const begin = performance.now()
    let sent = 0
    const pourUntilDone = async () => {
      while (!done) {
        sent += data.byteLength
        if (!bulk.send(data)) {
          await bulk.onDrain({ signal })
        }
        await setImmediate() // others have their turn
        if (sent >= bytes) {
          saturated.resolve()
        }
      }
      await finish(bulk, sent, counted, signal)
    }
    await Promise.all([askAgainAndAgain(), pourUntilDone()])
    return { micros: microsSince(begin), bytes: sent, samples }
  }

  /** Each connection of the crowd asks at its own moment of each period, on a stream that stays open. */
  async #pings ({ count, period }, signal) {
    for (const { connection } of this.#crowd.slice(this.#pinging.length)) {
      const stream = await connection.newStream(ANSWER, { signal, ...MANY })
      const answers = new Answers(stream)
      await askOn(stream, answers)
      this.#pinging.push({ stream, answers })
    }
    const samples = []
    const begin = performance.now()
    await Promise.all(this.#pinging.map(async ({ stream, answers }, i) => {
      for (let turn = 0; turn < count; turn++) {
        const due = begin + period * (turn + i / this.#pinging.length)
        await setTimeout(Math.max(due - performance.now(), 0))
        const asked = performance.now()
        await askOn(stream, answers)
        samples.push(microsSince(asked))
      }
    }))
    return { micros: microsSince(begin), samples }
  }

  async #handshakes ({ addr, count }, signal) {
    await Promise.all(this.#node.getConnections().map((connection) => connection.close({ signal })))
    const [dialed, answered] = [[], []]
    for (let i = 0; i < count; i++) {
      const begin = performance.now()
      const connection = await this.#node.dial(multiaddr(addr), { signal })
      dialed.push(microsSince(begin))
      await ask(connection, signal)
      answered.push(microsSince(begin))
      await connection.close({ signal })
    }
    return { dialed, answered }
  }

  async #gather ({ addr, count }, signal) {
    let left = count
    await Promise.all(Array.from({ length: DIALS_AT_ONCE }, async () => {
      while (left-- > 0) {
        const node = await this.#another([])
        const connection = await node.dial(multiaddr(addr), { signal })
        this.#crowd.push({ node, connection })
        await ask(connection, signal)
      }
    }))
    return { crowd: this.#crowd.length }
  }

  async #gatherListening ({ count, listen }) {
    const addrs = []
    for (let i = 0; i < count; i++) {
      const node = await this.#another([listen])
      await serveAnswers(node)
      this.#listening.push(node)
      addrs.push(`${node.getMultiaddrs()[0]}`)
    }
    return { addrs }
  }

  async #dialAll ({ addrs }, signal) {
    const left = addrs.values()
    await Promise.all(Array.from({ length: DIALS_AT_ONCE }, async () => {
      for (const addr of left) {
        await ask(await this.#node.dial(multiaddr(addr), { signal }), signal)
      }
    }))
    return {}
  }

  async #disperse () {
    this.#pinging = []
    await Promise.all(this.#listening.splice(0).map((node) => node.stop()))
    await Promise.all(this.#crowd.splice(0).map(({ node }) => node.stop()))
    return {}
  }
}

/** What comes in pieces of 32 bytes goes back in them. */
async function serveAnswers (node) {
  await node.handle(ANSWER, (stream) => { echo(stream).catch(complain) }, MANY)
}

async function usage ({ settle = false }) {
  if (settle) {
    collectGarbage()
  }
  const { user, system } = process.cpuUsage()
  return { pid: process.pid, cpu_micros: user + system }
}

/** Bytes of an incoming stream, counted; each wait is for so many more. */
class Answers {
  #have = 0
  #want = 0
  #resolve
  #reject
  last

  constructor (stream) {
    stream.addEventListener('message', ({ data }) => {
      this.#have += data.byteLength
      this.last = data
      this.#check()
    })
    stream.addEventListener('close', ({ error }) => {
      this.#reject?.(error ?? named('UnexpectedEOFError', 'the stream ended too early'))
    })
  }

  next (bytes) {
    return new Promise((resolve, reject) => {
      this.#want = bytes
      this.#resolve = resolve
      this.#reject = reject
      this.#check()
    })
  }

  #check () {
    if (this.#resolve != null && this.#have >= this.#want) {
      this.#have -= this.#want
      this.#resolve()
      this.#resolve = this.#reject = undefined
    }
  }
}

async function sink (stream) {
  const count = Buffer.alloc(COUNT)
  count.writeBigUInt64BE(BigInt(await consume(stream)))
  stream.send(new Uint8Array(count))
  await stream.close()
}

/** bytes by writes of the size of data, and the sink's count of them. */
async function pour (connection, bytes, data, signal) {
  const stream = await connection.newStream(SINK, { signal, ...MANY })
  const answers = new Answers(stream)
  for (let left = bytes; left > 0; left -= data.byteLength) {
    if (!stream.send(left < data.byteLength ? data.subarray(0, left) : data)) {
      await stream.onDrain({ signal })
    }
  }
  await finish(stream, bytes, answers, signal)
}

/** Closes a stream that bytes were written to, and reads the sink's count of them. */
async function finish (stream, bytes, answers, signal) {
  const counted = answers.next(COUNT)
  await Promise.all([stream.close({ signal }), counted])
  const got = Number(Buffer.from(answers.last.subarray()).readBigUInt64BE())
  if (got !== bytes) {
    throw new Error(`${bytes} bytes were sent and ${got} arrived`)
  }
}

async function ask (connection, signal) {
  const stream = await connection.newStream(ANSWER, { signal, ...MANY })
  await askOn(stream, new Answers(stream))
  await stream.close({ signal })
}

async function askOn (stream, answers) {
  stream.send(new Uint8Array(SMALL))
  await answers.next(SMALL)
}

function complain (error) {
  console.error(error)
}

function microsSince (begin) {
  return Math.round((performance.now() - begin) * 1000)
}
