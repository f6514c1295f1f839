// An interop peer on js-libp2p. The control contract it speaks is in ../README.md.
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { identify, identifyPush } from '@libp2p/identify'
import { mplex } from '@libp2p/mplex'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { createLibp2p } from 'libp2p'
import { Bench } from './bench.mjs'
import { Commands } from './commands.mjs'
import { Tallies } from './handlers.mjs'

const SECURITIES = { noise }
// As it comes, mplex ends a connection on which more than five streams are opened within a second.
const MUXERS = { yamux, mplex: () => mplex({ disconnectThreshold: 100_000 }) }

const { values: flags } = parseArgs({
  options: {
    security: { type: 'string', default: 'noise' },
    muxer: { type: 'string', default: 'yamux' },
    listen: { type: 'string', multiple: true, default: [] }
  }
})

function pick (table, name, flag) {
  if (table[name] == null) {
    console.error(`--${flag} ${name}: not supported`)
    process.exit(1)
  }
  return table[name]()
}

function write (line) {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

const create = (listen, start) => createLibp2p({
  start,
  addresses: { listen },
  transports: [tcp()],
  connectionEncrypters: [pick(SECURITIES, flags.security, 'security')],
  streamMuxers: [pick(MUXERS, flags.muxer, 'muxer')],
  services: { identify: identify(), identifyPush: identifyPush({ debounce: 10 }), ping: ping() },
  nodeInfo: { userAgent: 'interop-js' },
  connectionManager: { maxConnections: 4096, inboundConnectionThreshold: 4096, maxIncomingPendingConnections: 256 },
  connectionMonitor: { enabled: false }
})
const node = await create(flags.listen, false)
const tallies = new Tallies()
await tallies.serve(node)
const bench = new Bench(node, (listen) => create(listen, true))
await bench.serve()
const commands = new Commands(node, tallies, bench)
await node.start()
write({ event: 'ready', peer_id: `${node.peerId}`, addrs: node.getMultiaddrs().map(String) })

for await (const line of createInterface({ input: process.stdin })) {
  let request
  try {
    request = JSON.parse(line)
  } catch (error) {
    write({ id: null, ok: false, kind: 'bad_request', error: error.message })
    continue
  }
  if (request.command === 'quit') {
    write({ id: request.id, ok: true })
    break
  }
  commands.answer(request).then(write)
}
await node.stop()
process.exit(0)
