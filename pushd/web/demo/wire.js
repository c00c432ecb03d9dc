/**
 * The wire between the client and the server, with taps and switches: what goes over it is shown,
 * and it can be cut, robbed of its hints, or closed to a transport, as real networks do.
 */
export class Wire extends EventTarget {
  #sockets = new Set()
  #streams = new Set()
  isCut = false
  dropsHints = false
  forbidden = new Set()

  constructor() {
    super()
    const wire = this
    /** @type {any} */
    this.WebSocket = class {
      constructor(url, protocols) {
        this.readyState = 0
        if (wire.isCut || wire.forbidden.has('websocket')) {
          wire.note('cut', 'ws', wire.isCut ? 'no network' : 'forbidden')
          setTimeout(() => this.#end(1006), wire.isCut ? 500 : 50)
          return
        }
        const inner = (this.inner = new globalThis.WebSocket(url, protocols))
        wire.#sockets.add(this)
        inner.onopen = () => void (this.readyState = 1)
        inner.onmessage = ({ data }) => {
          if (wire.isCut || wire.#drops(data)) return
          wire.note('in', 'ws', data)
          this.onmessage?.({ data })
        }
        inner.onclose = ({ code, reason }) => this.#end(code, reason)
      }

      send(text) {
        if (wire.isCut) return
        wire.note('out', 'ws', text)
        this.inner?.send(text)
      }

      close() {
        this.inner?.close()
        this.#end(1005)
      }

      #end(code, reason = '') {
        if (this.readyState === 3) return
        this.readyState = 3
        wire.#sockets.delete(this)
        this.onclose?.({ code, reason })
      }

      /** As a network that is gone: the system tells the page after a while. */
      fail() {
        this.inner?.close()
        this.#end(1006)
      }
    }
  }

  #drops(text) {
    if (!this.dropsHints || !/"type":"hint"/.test(text)) return false
    this.note('cut', 'ws', `dropped: ${text}`)
    return true
  }

  fetch = async (url, options = {}) => {
    const path = new URL(url, location.href)
    const what = `${options.method ?? 'GET'} ${path.pathname}${path.search}`
    const isStream = path.pathname.endsWith('/v1/events')
    if (this.isCut || (isStream && this.forbidden.has('sse'))) {
      this.note('cut', 'http', `${what}: ${this.isCut ? 'no network' : 'forbidden'}`)
      await new Promise((done) => setTimeout(done, 300))
      throw new TypeError('cut')
    }
    this.note('out', 'http', options.body ? `${what} ${options.body}` : what)
    const over = new AbortController()
    options.signal?.addEventListener('abort', () => over.abort())
    this.#streams.add(over)
    const response = await globalThis.fetch(url, { ...options, signal: over.signal })
    if (isStream && response.body) return this.#tapped(response)
    const text = await response.text()
    this.#streams.delete(over)
    this.note('in', 'http', `${response.status} ${text}`)
    return new Response([204, 304].includes(response.status) ? null : text, response)
  }

  #tapped(response) {
    let rest = ''
    const decoder = new TextDecoder()
    const encoder = new TextEncoder()
    const tap = new TransformStream({
      transform: (chunk, controller) => {
        const events = (rest + decoder.decode(chunk, { stream: true })).split('\n\n')
        rest = events.pop()
        for (const event of events) {
          if (this.#drops(event)) continue
          this.note('in', 'sse', event.replace(/\n/g, ' '))
          controller.enqueue(encoder.encode(`${event}\n\n`))
        }
      }
    })
    return new Response(response.body.pipeThrough(tap), response)
  }

  /** Everything that is on its way is lost, as when a train enters a tunnel. */
  cut(isCut) {
    this.isCut = isCut
    this.note('cut', 'line', isCut ? 'cut' : 'mended')
    if (!isCut) return void globalThis.dispatchEvent(new Event('online'))
    for (const each of [...this.#sockets]) each.fail()
    for (const each of [...this.#streams]) each.abort()
    this.#streams.clear()
  }

  /** 'websocket', 'sse', 'poll' or undefined for the best that gets through. */
  force(transport) {
    const order = ['websocket', 'sse', 'poll']
    this.forbidden = new Set(transport ? order.filter((each) => each !== transport) : [])
    for (const each of [...this.#sockets]) each.fail()
    for (const each of [...this.#streams]) each.abort()
    globalThis.dispatchEvent(new Event('online'))
  }

  /** Any text over the open WebSocket. False when there is none. */
  send(text) {
    const [socket] = [...this.#sockets].filter((each) => each.readyState === 1)
    socket?.send(text)
    return socket !== undefined
  }

  note(way, kind, text) {
    this.dispatchEvent(new CustomEvent('note', { detail: { at: Date.now(), way, kind, text } }))
  }
}
