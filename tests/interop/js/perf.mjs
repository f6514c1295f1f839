// Perf: eight bytes of how many are wanted back, an upload to EOF, then the download.
import { consume, send } from './streams.mjs'

const HEADER_SIZE = 8
const zeros = new Uint8Array(64 * 1024)

/** Answer one stream; resolves with the bytes uploaded, without the first eight. */
export async function servePerf (stream) {
  const header = []
  const read = await consume(stream, (chunk) => {
    for (let i = 0; header.length < HEADER_SIZE && i < chunk.byteLength; i++) {
      header.push(chunk.subarray()[i])
    }
  })
  await sendZeros(stream, Number(Buffer.from(header).readBigUInt64BE()))
  await stream.close()
  return read - HEADER_SIZE
}

/** Ask for a measurement on a stream just opened. */
export async function perf (stream, upload, download, signal) {
  const begin = process.hrtime.bigint()
  const read = consume(stream)
  const header = Buffer.alloc(HEADER_SIZE)
  header.writeBigUInt64BE(BigInt(download))
  await send(stream, header, signal)
  await sendZeros(stream, upload, signal)
  await stream.close({ signal })
  const uploaded = process.hrtime.bigint()
  return {
    uploaded: upload,
    downloaded: await read,
    upload_micros: Number((uploaded - begin) / 1000n),
    download_micros: Number((process.hrtime.bigint() - uploaded) / 1000n)
  }
}

async function sendZeros (stream, size, signal) {
  for (let left = size; left > 0; left -= zeros.length) {
    await send(stream, zeros.subarray(0, Math.min(left, zeros.length)), signal)
  }
}
