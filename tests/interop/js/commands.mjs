// The commands of the control contract (../README.md).
import { createHash } from 'node:crypto'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { multiaddr } from '@multiformats/multiaddr'
import { ECHO, HALF, HALF_FIRST, PERF, RESET, RESET_ME, SINK, handle } from './handlers.mjs'
import { perf } from './perf.mjs'
import { consume, named, pseudoRandom, send } from './streams.mjs'

const DEFAULT_TIMEOUT_MS = 20_000
const KINDS = {
  BadRequest: 'bad_request',
  DialFailed: 'dial_failed',
  NotRefused: 'not_refused',
  UnexpectedPeerError: 'peer_id_mismatch',
  UnsupportedProtocolError: 'no_protocol',
  StreamResetError: 'stream_reset',
  TimeoutError: 'timeout',
  AbortError: 'timeout',
  ConnectionClosedError: 'connection_lost',
  ConnectionClosingError: 'connection_lost',
  ConnectionFailedError: 'connection_lost',
  MuxerClosedError: 'connection_lost',
  StreamAbortedError: 'connection_lost',
  UnexpectedEOFError: 'unexpected_eof'
}

/** The most telling kind among an error, its causes and its siblings. */
export function kindOf (error) {
  // The upgrader keeps only the text of what the security protocol threw.
  if (error.name === 'EncryptionFailedError' && error.message.includes('does not match expected remote identity key')) {
    return 'peer_id_mismatch'
  }
  const inner = [...(error.errors ?? []), error.cause].filter((e) => e != null).map(kindOf)
  return inner.find((kind) => kind !== 'internal') ?? KINDS[error.name] ?? 'internal'
}

export class Commands {
  #node
  #tallies
  #bench
  #identified = new Map() // by connection id

  constructor (node, tallies, bench) {
    this.#node = node
    this.#tallies = tallies
    this.#bench = bench
    node.addEventListener('peer:identify', ({ detail }) => {
      tallies.change(() => this.#identified.set(detail.connection.id, detail))
    })
    node.addEventListener('connection:open', () => tallies.change(() => {}))
    node.addEventListener('connection:close', ({ detail }) => {
      tallies.change(() => this.#identified.delete(detail.id))
    })
  }

  async answer (request) {
    const signal = AbortSignal.timeout(request.timeout_ms ?? DEFAULT_TIMEOUT_MS)
    try {
      return { ...await this.#execute(request, signal), id: request.id, ok: true }
    } catch (error) {
      return { ...error.counters, id: request.id, ok: false, kind: kindOf(error), error: `${error.name}: ${error.message}` }
    }
  }

  async #execute (request, signal) {
    switch (request.command) {
      case 'stats': return await this.#stats(request.until ?? {}, signal)
      case 'close_connections': return await this.#closeConnections(signal)
      case 'wrong_peer': return await this.#wrongPeer(request.addr, signal)
      case 'handle': return await handle(this.#node, request.protocol)
      case 'unhandle': return await this.#node.unhandle(request.protocol)
    }
    const measure = this.#bench.command(request.command)
    if (measure != null) {
      return await measure(request, signal)
    }
    const { bytes = 0, seed = 0, count = 0, streams = 0 } = request
    const connection = await this.#connect(request, signal)
    switch (request.command) {
      case 'dial': return { peer: `${connection.remotePeer}`, remote_addr: `${connection.remoteAddr}` }
      case 'identify': return await this.#identify(connection, signal)
      case 'ping': return await this.#ping(connection, Math.max(count, 1), signal)
      case 'echo': return await this.#echo(connection, bytes, seed, signal)
      case 'many': return await this.#many(connection, streams, bytes, seed, signal)
      case 'half': return await this.#half(connection, bytes, seed, signal)
      case 'half_first': return await this.#halfFirst(connection, bytes, seed, signal)
      case 'reset': return await this.#reset(connection, request.code ?? 0, signal)
      case 'send_reset': return await this.#sendReset(connection, signal)
      case 'oneway': return await this.#oneway(connection, count, bytes, seed, signal)
      case 'perf': return await this.#perf(connection, request.upload ?? 0, request.download ?? 0, signal)
      case 'wait_protocol': return await this.#waitProtocol(connection, request.protocol, request.present ?? true, signal)
    }
    throw named('BadRequest', `unknown command ${JSON.stringify(request.command)}`)
  }

  /** The connection to the request's peer, or a dial of its address and of no other. */
  async #connect ({ addr, peer }, signal) {
    if (addr == null) {
      const connection = this.#node.getConnections().find((c) => `${c.remotePeer}` === peer)
      if (connection == null) {
        throw named('DialFailed', `no connection to ${peer}`)
      }
      return connection
    }
    let target
    try {
      target = multiaddr(addr)
    } catch (error) {
      throw named('BadRequest', `addr: ${error.message}`)
    }
    return await this.#dial(target, signal)
  }

  async #dial (target, signal) {
    try {
      return await this.#node.dial(target, { signal })
    } catch (cause) {
      const error = named('DialFailed', `${cause.name}: ${cause.message}`)
      error.cause = ['peer_id_mismatch', 'timeout'].includes(kindOf(cause)) ? cause : undefined
      throw error
    }
  }

  /** A stream that is aborted when the signal fires, so that whoever waits on it fails. */
  async #open (connection, protocol, signal) {
    const stream = await connection.newStream(protocol, { signal })
    const abort = () => stream.abort(signal.reason)
    signal.addEventListener('abort', abort)
    stream.addEventListener('close', () => signal.removeEventListener('abort', abort))
    return stream
  }

  async #identify (connection, signal) {
    await this.#tallies.wait(() => this.#identified.has(connection.id), signal)
    const result = this.#identified.get(connection.id)
    return {
      peer: `${result.peerId}`,
      agent: result.agentVersion ?? '',
      protocol_version: result.protocolVersion ?? '',
      protocols: result.protocols,
      listen_addrs: result.listenAddrs.map(String),
      observed_addr: result.observedAddr == null ? null : `${result.observedAddr}`,
      signed_record: result.signedPeerRecord != null
    }
  }

  async #ping (connection, count, signal) {
    const rtts = []
    for (let i = 0; i < count; i++) {
      const begin = process.hrtime.bigint()
      await this.#node.services.ping.ping(connection.remotePeer, { signal })
      rtts.push(microsSince(begin))
    }
    return { rtts }
  }

  async #echo (connection, bytes, seed, signal) {
    const begin = process.hrtime.bigint()
    const sent = createHash('sha256')
    const received = createHash('sha256')
    const stream = await this.#open(connection, ECHO, signal)
    const write = async () => {
      for (const block of pseudoRandom(bytes, seed)) {
        sent.update(block)
        await send(stream, block, signal)
      }
      await stream.close({ signal })
    }
    const read = consume(stream, (chunk) => { received.update(chunk.subarray()) })
    await Promise.all([write(), read])
    return {
      sent_sha256: sent.digest('hex'),
      received_sha256: received.digest('hex'),
      received: await read,
      micros: microsSince(begin)
    }
  }

  async #many (connection, streams, bytes, seed, signal) {
    const begin = process.hrtime.bigint()
    const results = await Promise.allSettled(
      Array.from({ length: streams }, (_, i) => this.#echo(connection, bytes, seed + i, signal))
    )
    const failed = results.find((result) => result.status === 'rejected')
    const intact = results.filter(({ value }) => value != null && value.sent_sha256 === value.received_sha256).length
    const counters = { streams, intact, micros: microsSince(begin) }
    if (failed != null) {
      throw Object.assign(failed.reason, { counters })
    }
    return counters
  }

  async #half (connection, bytes, seed, signal) {
    const stream = await this.#open(connection, HALF, signal)
    const answer = readText(stream)
    const write = async () => {
      for (const block of pseudoRandom(bytes, seed)) {
        await send(stream, block, signal)
      }
      await stream.close({ signal })
    }
    await Promise.all([write(), answer])
    return { answer: await answer }
  }

  async #halfFirst (connection, bytes, seed, signal) {
    const stream = await this.#open(connection, HALF_FIRST, signal)
    const greeting = await readText(stream)
    for (const block of pseudoRandom(bytes, seed)) {
      await send(stream, block, signal)
    }
    await stream.close({ signal })
    return { greeting }
  }

  async #reset (connection, code, signal) {
    const stream = await this.#open(connection, RESET, signal)
    const read = consume(stream)
    stream.send(Uint8Array.of(code))
    try {
      await read
      return { seen: 'eof', code: null }
    } catch (error) {
      return { seen: kindOf(error), code: null, text: `${error.name}: ${error.message}` }
    }
  }

  async #sendReset (connection, signal) {
    const stream = await this.#open(connection, RESET_ME, signal)
    await new Promise((resolve, reject) => {
      consume(stream, resolve).then(
        () => reject(named('UnexpectedEOFError', 'no byte before EOF')),
        reject
      )
    })
    stream.abort(new Error('reset on purpose'))
  }

  async #oneway (connection, count, bytes, seed, signal) {
    for (let i = 0; i < count; i++) {
      const stream = await this.#open(connection, SINK, signal)
      for (const block of pseudoRandom(bytes, seed + i)) {
        await send(stream, block, signal)
      }
      await stream.close({ signal })
    }
    return { streams: count, bytes: count * bytes }
  }

  async #perf (connection, upload, download, signal) {
    return await perf(await this.#open(connection, PERF, signal), upload, download, signal)
  }

  async #waitProtocol (connection, protocol, present, signal) {
    const served = () => this.#identified.get(connection.id)?.protocols.includes(protocol)
    await this.#tallies.wait(() => served() === present, signal)
  }

  async #wrongPeer (addr, signal) {
    const stranger = peerIdFromPrivateKey(await generateKeyPair('Ed25519'))
    const target = multiaddr(addr).decapsulate('/p2p').encapsulate(`/p2p/${stranger}`)
    try {
      await this.#dial(target, signal)
    } catch (error) {
      return { seen: kindOf(error), text: `${error.name}: ${error.message}` }
    }
    throw named('NotRefused', `${addr} answered for ${stranger}`)
  }

  async #closeConnections (signal) {
    const connections = this.#node.getConnections()
    await Promise.all(connections.map((connection) => connection.close({ signal })))
    return { closed: connections.length }
  }

  async #stats (until, signal) {
    const value = (name) => {
      const [stream, counter] = name.split('.')
      const found = name === 'connections' ? this.#node.getConnections().length : this.#tallies.streams[stream]?.[counter]
      if (typeof found !== 'number') {
        throw named('BadRequest', `until: no counter ${JSON.stringify(name)}`)
      }
      return found
    }
    const counters = () => ({ connections: this.#node.getConnections().length, ...this.#tallies.streams })
    Object.keys(until).forEach(value)
    try {
      await this.#tallies.wait(() => Object.entries(until).every(([name, wanted]) => value(name) === wanted), signal)
    } catch (error) {
      throw Object.assign(named(error.name, error.message), { counters: counters() })
    }
    return counters()
  }
}

async function readText (stream) {
  const chunks = []
  await consume(stream, (chunk) => { chunks.push(chunk.slice()) })
  return Buffer.concat(chunks).toString()
}

function microsSince (begin) {
  return Number((process.hrtime.bigint() - begin) / 1000n)
}
