import t from 'tap'
import { loadConfig } from '../../../src/config.ts'
import { namesSentinels, parseSentinelUrl } from '../../../src/core/broker/sentinel.ts'

t.test('a group is named by the hosts of its Sentinels and its name', async t => {
  t.strictSame(parseSentinelUrl('redis+sentinel://a.example:26380,10.0.0.1:26381,[fd00::1]:26382/my-group.1'), {
    sentinels: [{ host: 'a.example', port: 26380 }, { host: '10.0.0.1', port: 26381 }, { host: 'fd00::1', port: 26382 }],
    name: 'my-group.1',
    username: undefined,
    password: undefined,
    db: 0,
    tls: false
  })
})

t.test('a port may be left out', async t => {
  t.strictSame(parseSentinelUrl('redis+sentinel://a,[::1]/g')?.sentinels, [{ host: 'a', port: 26379 }, { host: '::1', port: 26379 }])
})

t.test('user and password are decoded, and either may be missing', async t => {
  const credentials = (text: string): unknown => {
    const { username, password } = parseSentinelUrl(`redis+sentinel://${text}@a/g`) ?? {}
    return [username, password]
  }
  t.strictSame(credentials('carillon:p%40ss%3A%2F%25'), ['carillon', 'p@ss:/%'])
  t.strictSame(credentials('carillon:a:b'), ['carillon', 'a:b'])
  t.strictSame(credentials(':secret'), [undefined, 'secret'])
  t.strictSame(credentials('carillon:'), ['carillon', undefined])
})

t.test('a database and TLS are asked for as with a single server', async t => {
  t.match(parseSentinelUrl('rediss+sentinel://a/g/3'), { db: 3, tls: true })
})

t.test('what is not of this form is not guessed at', async t => {
  const wrong = [
    'redis+sentinel://', 'redis+sentinel://a', 'redis+sentinel://a/', 'redis+sentinel:///g', 'redis+sentinel://a,/g', 'redis+sentinel://,a/g',
    'redis+sentinel://a:0/g', 'redis+sentinel://a:65536/g', 'redis+sentinel://a:port/g', 'redis+sentinel://a:/g', 'redis+sentinel://::1/g',
    'redis+sentinel://a/g/x', 'redis+sentinel://a/g/1/2', 'redis+sentinel://a/g?x=1', 'redis+sentinel://a/g h', 'redis+sentinel://a b/g',
    'redis+sentinel://u:%@a/g', 'redis+sentinel://u@v@a/g', 'redis+sentinel://a/g\n', 'REDIS+SENTINEL://a/g', 'sentinel://a/g', 'redis://a/1'
  ]
  for (const url of wrong) t.equal(parseSentinelUrl(url), undefined, url)
})

t.test('it is known by its scheme that Sentinels are meant', async t => {
  for (const url of ['redis+sentinel://a/g', 'rediss+sentinel:', 'redis+sentinel://broken']) t.ok(namesSentinels(url), url)
  for (const url of ['redis://a', 'rediss://a', 'http://redis+sentinel:']) t.notOk(namesSentinels(url), url)
})

t.test('the configuration takes a group as it is, and refuses a wrong one in one line that does not repeat it', async t => {
  for (const url of ['redis+sentinel://a:1,b:2/g', 'rediss+sentinel://user:secret@a/g/1']) t.equal(loadConfig({ REDIS_URL: url }).redisUrl, url)
  for (const url of ['redis+sentinel://a:1,b:2', 'redis+sentinel://user:hunter2@a:x/g', 'rediss+sentinel://user:hunter2@/g']) {
    t.throws(() => loadConfig({ REDIS_URL: url }), { message: "REDIS_URL can't be used: with Sentinels it must be redis+sentinel://[user:password@]host:port[,host:port…]/name[/database], or rediss+sentinel:// for TLS" })
  }
})
