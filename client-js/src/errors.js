/** What the server refused, or what only a client can meet. Decide by `code`. */
export class PushError extends Error {
  /**
   * @param {string} code `forbidden`, `expired`, …; the client's own: `unreachable`, `bad_answer`,
   *   `no_token`, `kicked`, `closed`, `outbox_full`
   * @param {string} detail
   * @param {{status?: number, retryAfterMs?: number, members?: Record<string, any>,
   *   cause?: unknown}} [more] `members`: what else the refusal says, such as `resume`
   */
  constructor(code, detail, more = {}) {
    super(detail, { cause: more.cause })
    this.name = 'PushError'
    this.code = code
    this.status = more.status ?? 0
    this.retryAfterMs = more.retryAfterMs
    this.members = more.members ?? {}
  }

  /** Whether the same request, with the same id, is worth sending again. */
  get transient() {
    return TRANSIENT.has(this.code)
  }

  /** Whether something in between has answered: pushd says a code with every refusal. */
  get foreign() {
    return this.code === 'bad_answer'
  }
}

const TRANSIENT = new Set([
  'unreachable', 'no_token', 'internal', 'overloaded', 'not_ready', 'rate_limited', 'timeout'
])
// Said by proxies, too; these mean unknown or later.
const TRANSIENT_STATUS = new Set([408, 425, 429, 500, 502, 503, 504])
const LONGEST_RETRY_MS = 300_000

/**
 * The refusal in an HTTP answer. What is no problem object came from something in between.
 *
 * @param {Response} response
 * @returns {Promise<PushError>}
 */
export async function errorOf(response) {
  const status = response.status
  const retryAfterMs = retryAfter(response.headers.get('retry-after'))
  const problem = await response.json().catch(() => undefined)
  if (typeof problem?.code === 'string') {
    const { code, detail, type: _type, title: _title, ...members } = problem
    return new PushError(code, String(detail ?? `HTTP ${status}`), { status, retryAfterMs, members })
  }
  const code = TRANSIENT_STATUS.has(status) ? 'unreachable' : 'bad_answer'
  return new PushError(code, `HTTP ${status} that is not pushd's`, { status, retryAfterMs })
}

/**
 * Whole seconds as milliseconds, capped. The date form is ignored: it needs equal clocks.
 *
 * @param {string | null} text
 */
function retryAfter(text) {
  return text !== null && /^\d{1,9}$/.test(text)
    ? Math.min(Number(text) * 1000, LONGEST_RETRY_MS)
    : undefined
}

// After these nothing changes by coming again, unless a bye says otherwise.
const FINAL = new Set([4001, 4003, 4009])

/**
 * Why a bye is the last word; undefined when the client may come again.
 *
 * @param {{code?: any, reason?: string, reconnect?: boolean}} bye
 */
export function errorOfBye({ code = 0, reason = '', reconnect = !FINAL.has(code) }) {
  return reconnect ? undefined : errorOfClose(code, reason)
}

/**
 * Why a session ended for good.
 *
 * @param {number} code a close code of the protocol
 * @param {string} reason
 */
function errorOfClose(code, reason) {
  const detail = `The server ended the session (${code}): ${reason || 'no reason given'}`
  if (code === 4001) return new PushError(/expire/.test(reason) ? 'token_expired' : 'unauthorized', detail)
  return new PushError(code === 4003 ? 'forbidden' : 'kicked', detail)
}
