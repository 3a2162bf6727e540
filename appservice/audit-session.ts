/** A session at a log that gives its change lists to named auditors only. Matrix client-server API, "OpenID". */
import { parseSessionAnswer } from "../shared/messages.ts";

const REQUEST_TIMEOUT_MS = 30_000;

/** The Matrix account of an auditor. */
export interface AuditorAccount {
  readonly userId: string;
  /** Base URL of the client API of its homeserver. */
  readonly homeserverUrl: string;
  readonly accessToken: string;
}

/** Opens a session at `serviceUrl`; resolves to its token. Throws an Error that never holds a token. */
export async function openAuditSession(serviceUrl: string, account: AuditorAccount): Promise<string> {
  const { userId, homeserverUrl, accessToken } = account;
  const path = `/_matrix/client/v3/user/${encodeURIComponent(userId)}/openid/request_token`;
  const openid_token = await post(`${homeserverUrl}${path}`, {}, { authorization: `Bearer ${accessToken}` });
  return parseSessionAnswer(await post(`${serviceUrl}/v1/session`, { openid_token }, {})).session;
}

async function post(url: string, body: object, headers: { readonly [name: string]: string }): Promise<unknown> {
  const response = await fetch(url, {
    method: "POST",
    redirect: "error",
    headers: { ...headers, "content-type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
  });
  if (!response.ok) throw new Error(`${new URL(url).pathname}: status ${response.status}`);
  return await response.json();
}
