import { PushError, errorOf } from './errors.js'

/**
 * One connection that brings frames, whatever it is made of.
 *
 * @typedef {object} Link
 * @property {(frame: object) => boolean} send false when this kind cannot, or no longer
 * @property {() => void} close
 *
 * @typedef {object} Listener
 * @property {(frame: import('./types.js').Frame) => void} onFrame
 * @property {(end: {code?: number, reason: string, blocked: boolean}) => void} onEnd once;
 *   `blocked`: something answered, so that another transport may get through
 */

/**
 * @param {import('./env.js').Env} env
 * @param {string} url
 * @param {string | undefined} token
 * @param {Listener} listener
 * @returns {Link}
 */
export function openWebSocket(env, url, token, listener) {
  const Socket = env.WebSocket
  if (!Socket) throw new PushError('unreachable', 'There is no WebSocket here')
  const protocols = token === undefined ? ['pushd.v1'] : ['pushd.v1', `bearer.${token}`]
  const socket = new Socket(url.replace(/^http/, 'ws'), protocols)
  let over = false
  /** @param {{code?: number, reason: string, blocked: boolean}} how */
  const end = (how) => {
    if (over) return
    over = true
    listener.onEnd(how)
  }
  socket.onmessage = ({ data }) => {
    const frame = over ? undefined : parsed(data)
    if (frame) listener.onFrame(frame)
  }
  // A refused upgrade and a network that is gone look the same to a page: try another transport.
  socket.onclose = ({ code, reason }) => end({ code, reason, blocked: true })
  return {
    send(frame) {
      if (over || socket.readyState !== 1) return false
      socket.send(JSON.stringify(frame))
      return true
    },
    close() {
      end({ reason: 'closed here', blocked: false })
      socket.close()
    }
  }
}

/**
 * Server-sent events, streamed with `fetch`, so that the token goes in a header.
 *
 * @param {import('./env.js').Env} env
 * @param {string} url
 * @param {string | undefined} token
 * @param {Listener} listener
 * @returns {Link}
 */
export function openEvents(env, url, token, listener) {
  const over = new AbortController()
  /** @type {Record<string, string>} */
  const headers = { accept: 'text/event-stream' }
  if (token !== undefined) headers.authorization = `Bearer ${token}`
  const run = async () => {
    const response = await env.fetch(url, { headers, signal: over.signal, cache: 'no-store' })
    if (!response.ok || !response.body) {
      const error = await errorOf(response)
      return { code: error.status === 401 ? 4001 : undefined, reason: error.message, blocked: true }
    }
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
    for (let text = ''; ; ) {
      const { value, done } = await reader.read()
      if (done) return { reason: 'the stream ended', blocked: true }
      const events = (text + value).split('\n\n')
      text = events.pop() ?? ''
      for (const event of events) {
        const data = /^data: (.*)$/m.exec(event)?.[1]
        const frame = data === undefined || over.signal.aborted ? undefined : parsed(data)
        if (frame) listener.onFrame(frame)
      }
    }
  }
  run()
    .catch((error) => ({ reason: String(error.message ?? error), blocked: false }))
    .then((end) => listener.onEnd(over.signal.aborted ? { reason: 'closed here', blocked: false } : end))
  return {
    send: () => false,
    close: () => over.abort()
  }
}

/** Frames that are not ours are passed over. @param {unknown} text */
function parsed(text) {
  try {
    const frame = JSON.parse(String(text))
    return typeof frame?.type === 'string' ? frame : undefined
  } catch {
    return undefined
  }
}
