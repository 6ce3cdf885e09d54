// Calls each method of http2_support.Services at ADDRESS with @grpc/grpc-js; says "all fine" at the end.
const assert = require('assert')
const grpc = require('@grpc/grpc-js')

const bytes = (value) => value
const method = (name, requestStream = false, responseStream = false) => ({
  path: `/test.S/${name}`, requestStream, responseStream,
  requestSerialize: bytes, requestDeserialize: bytes, responseSerialize: bytes, responseDeserialize: bytes,
})
const Client = grpc.makeGenericClientConstructor({
  echo: method('Echo'), later: method('Later'), hold: method('Hold'), fail: method('Fail'), nothing: method('Nothing'),
  chat: method('Chat', true, true), count: method('Count', false, true),
}, 'S')
const unlimited = { 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 }
const connect = (options) => new Client(process.argv[2], grpc.credentials.createInsecure(), { ...unlimited, ...options })
const client = connect({})
const call = (name, data, options = {}, by = client) => new Promise((resolve, reject) =>
  by[name](data, options, (error, answer) => error ? reject(error) : resolve(answer)))
const failure = (promise) => promise.then(() => assert.fail('no error'), (error) => error)
const all = (stream) => new Promise((resolve, reject) => {
  const received = []
  stream.on('data', (data) => received.push(data.toString())).on('end', () => resolve(received)).on('error', reject)
})

async function main () {
  for (const size of [0, 1, 3000, 100_000, 5_000_000, 64 << 20]) {
    const data = Buffer.alloc(size, 'x')
    assert(data.equals(await call('echo', data)))
  }
  const numbers = [...Array(2000).keys()].map(String)
  const soon = { deadline: Date.now() + 60_000 }
  const answers = await Promise.all(numbers.map((number) => call('later', Buffer.from(number), soon)))
  assert.deepEqual(answers.map(String), numbers)
  assert.equal((await failure(call('nothing', Buffer.alloc(0)))).code, grpc.status.UNIMPLEMENTED)
  const error = await failure(call('fail', Buffer.concat([Buffer.from([5]), Buffer.from('größe 100 % 例')])))
  assert.deepEqual([error.code, error.details], [grpc.status.NOT_FOUND, 'größe 100 % 例'])
  const late = await failure(call('hold', Buffer.alloc(0), { deadline: Date.now() + 100 }))
  assert.equal(late.code, grpc.status.DEADLINE_EXCEEDED)
  const cancelled = await new Promise((resolve) => {
    const held = client.hold(Buffer.alloc(0), resolve)
    setImmediate(() => held.cancel())
  })
  assert.equal(cancelled.code, grpc.status.CANCELLED)
  const chat = client.chat()
  for (const text of ['a', '', 'c']) chat.write(Buffer.from(text))
  chat.end()
  assert.deepEqual(await all(chat), ['a', '', 'c'])
  assert.equal((await all(client.count(Buffer.from('1000')))).length, 1000)
  const gzip = connect({ 'grpc.default_compression_algorithm': grpc.compressionAlgorithms.gzip })
  const long = Buffer.alloc(100_000, 'z')
  assert(long.equals(await call('echo', long, {}, gzip)))
  console.log('all fine')
  process.exit(0)
}
main().catch((error) => { console.error(error); process.exit(1) })
