import assert from "node:assert/strict";
import { subjectOf } from "../../../appservice/sessions.ts";
import { parseSessionRequest, parseUserId, serverOfUser } from "../../../shared/messages.ts";
import { ALICE } from "../fixtures.ts";
import type { FuzzTarget } from "../target.ts";
import { assertUnpolluted, hostJson, seedsOf, textOf, unlessRefused } from "../target.ts";

const token = { access_token: "t", token_type: "Bearer", matrix_server_name: "example.org", expires_in: 3600 };

/** What a homeserver says of an OpenID token, and what a client hands in: a user id of one server, or nothing. */
export const target: FuzzTarget = {
  seeds: () =>
    seedsOf(
      { sub: ALICE },
      { sub: "@a:b:8448" },
      { sub: null },
      '{"sub":"@a:\\ud800"}',
      '{"sub":"@x:y","sub":"@z:w"}',
      { openid_token: token },
      { openid_token: { ...token, extra: 1 } },
    ),
  run(input) {
    const userId = subjectOf(textOf(input));
    if (userId !== undefined) {
      assert.equal(parseUserId(userId), userId);
      assert(userId.endsWith(`:${serverOfUser(userId)}`) && userId.startsWith("@"));
      assert(new TextEncoder().encode(userId).length <= 255);
    }
    const request = unlessRefused(() => parseSessionRequest(hostJson(input)), "malformed");
    if (request !== undefined) {
      assert.deepEqual(Object.keys(request.openid_token).sort(), Object.keys(token).sort());
      assert.deepEqual(parseSessionRequest(request), request);
    }
    assertUnpolluted();
  },
};
