import { spawn } from 'node:child_process'
import { access, chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { installPackages, program } from '../../test/support/programs.ts'
import { freePort } from '../../test/support/redis.ts'
import { until } from '../../test/support/until.ts'
import { clusterOf, end, type Peer } from './peer.ts'

const MODULE = '/usr/lib/nginx/modules/ngx_nchan_module.so'

/** The worker of an nginx outlives its SIGKILL. */
const ENDS = 'SIGTERM'

/** nginx with Nchan, Debian's package: C, one worker for each instance, over the same Redis. Publishes are requests. */
export const nchan: Peer = {
  name: 'nchan',
  label: 'Nchan',
  dialects: { websocket: 'nchan', sse: 'nchan-events' },
  async prepare () {
    if (await there()) return
    const reason = await installPackages(['nginx-light', 'libnginx-mod-nchan'])
    if (!await there()) throw new Error(`Nchan is missing: apt-get install libnginx-mod-nchan${reason === undefined ? '' : ` (${reason})`}`)
  },
  async start ({ owner, redis, instances }) {
    const path = await program('nginx')
    return clusterOf(await Promise.all(Array.from({ length: instances }, async () => {
      const port = await freePort()
      const dir = await mkdtemp(join(tmpdir(), 'carillon-nchan-'))
      owner.teardown(() => rm(dir, { recursive: true, force: true }))
      await chmod(dir, 0o755)
      const conf = join(dir, 'nginx.conf')
      await writeFile(conf, configuration(port, redis.url))
      const child = spawn(path, ['-e', 'stderr', '-p', dir, '-c', conf], { stdio: ['ignore', 'ignore', 'ignore'] })
      owner.teardown(() => end(child, ENDS))
      // Until it has its Redis it refuses.
      const body = { method: 'POST', body: '-' }
      await until(() => fetch(`http://127.0.0.1:${port}/publish?channel=ready`, body).then(({ ok }) => ok, () => false), 'Nchan to take a message')
      return { child, port }
    })), { signal: ENDS, collects: false })
  }
}

function there (): Promise<boolean> {
  return access(MODULE).then(() => true, () => false)
}

function configuration (port: number, redisUrl: string): string {
  return `
load_module ${MODULE};
daemon off;
pid nginx.pid;
error_log stderr crit;
worker_processes 1;
worker_rlimit_nofile 20000;
events { worker_connections 19900; }
http {
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  keepalive_requests 1000000;
  upstream log { nchan_redis_server ${redisUrl}; }
  server {
    listen 127.0.0.1:${port} backlog=511;
    location = /subscribe {
      nchan_subscriber websocket eventsource;
      nchan_channel_id $arg_channel;
      nchan_redis_pass log;
      nchan_message_buffer_length 1000;
      nchan_message_timeout 1h;
      nchan_websocket_ping_interval 25;
      nchan_eventsource_ping_interval 15;
    }
    location = /publish {
      nchan_publisher;
      nchan_channel_id $arg_channel;
      nchan_redis_pass log;
      nchan_message_buffer_length 1000;
      nchan_message_timeout 1h;
    }
  }
}
`
}
