import { Backoff } from './backoff.js'
import { claimsOf } from './credential.js'
import { sleep } from './env.js'

/**
 * The user of the token; '' if it does not say, or the client is closed before. What is kept here,
 * and shared among tabs, is of one user. Rejects with what ends it for good.
 *
 * @param {import('./credential.js').Credential} credential
 * @param {import('./env.js').Env} env
 * @param {AbortSignal} closed
 * @param {(error: import('./errors.js').PushError) => void} onTrouble it is tried again
 */
export async function accountOf(credential, env, closed, onTrouble) {
  const backoff = new Backoff(env.random)
  while (!closed.aborted) {
    try {
      return String(claimsOf((await credential.token()) ?? '').sub ?? '')
    } catch (cause) {
      const error = /** @type {import('./errors.js').PushError} */ (cause)
      if (!error.transient) throw error
      onTrouble(error)
      await sleep(env, backoff.next(error.retryAfterMs), closed)
    }
  }
  return ''
}
