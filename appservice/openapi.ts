/** The OpenAPI document, made from the routes and the message shapes. */
import { HTTP_SHAPES, type Shape } from "../shared/messages.ts";
import { ROUTES, type Route } from "./api-routes.ts";

const JSON_TYPE = "application/json";
const BASE64 = "^[A-Za-z0-9+/]*$";

/** What members are, by name: a name means one thing in all messages. Kept here, since clients carry the shapes. */
const MEMBERS: Readonly<Record<string, string>> = {
  access_token: "OpenID access token",
  checkpoint: "C2SP signed note",
  commitment: "HMAC-SHA256",
  consistency: "RFC 6962 path: its hashes, concatenated",
  counter: "per master key, rising",
  entry: "Matrix canonical JSON",
  epoch: "position of an epoch in the log",
  expires_in: "seconds",
  expires_in_ms: "milliseconds",
  history_root: "SHA-256 hash",
  last_leaf_proof: "RFC 6962 path: its hashes, concatenated",
  map_proof: "single map proof",
  master_key: "Ed25519 public key",
  matrix_server_name: "server name",
  message: "for people",
  n: "newest version of a history",
  note: "C2SP signed note",
  opening: "opening of the commitment",
  previous_proof: "RFC 6962 path: its hashes, concatenated",
  previous_record: "epoch record",
  proof: "RFC 6962 path: its hashes, concatenated",
  record: "epoch record",
  record_proof: "RFC 6962 path: its hashes, concatenated",
  room_id: "Matrix room id",
  root: "SHA-256 hash",
  session: "bearer token",
  settling_epoch: "position of an epoch in the log",
  signature: "Ed25519 signature",
  token_type: "always Bearer",
  user_id: "Matrix user id",
  version: "version of a history",
  vrf_proof: "ECVRF-EDWARDS25519-SHA512-TAI proof",
};

/** OpenAPI 3.1 as a JSON value. `serviceUrl` without trailing slash. */
export function openApiDocument(serviceUrl: string): object {
  const paths: { [path: string]: { [method: string]: object } } = {};
  for (const route of ROUTES) (paths[pathOf(route)] ??= {})[route.method] = operation(route);
  return {
    openapi: "3.1.0",
    info: { title: "matrix-ckv", version: "1", description: "Key transparency log of a Matrix homeserver." },
    servers: [{ url: serviceUrl }],
    paths,
    components: { securitySchemes: { session: { type: "http", scheme: "bearer" } } },
  };
}

function pathOf({ path }: Route): string {
  return path.replace(/[:*]([a-z]+)/g, "{$1}");
}

function operation(route: Route): object {
  const names = [...route.path.matchAll(/[:*]([a-z]+)/g)].map(([, name]) => name);
  return {
    summary: route.summary,
    ...(route.access === "session" ? { security: [{ session: [] }] } : {}),
    parameters: names.map((name) => ({ name, in: "path", required: true, schema: { type: "string" } })),
    ...(route.request === undefined
      ? {}
      : { requestBody: { required: true, content: { [JSON_TYPE]: { schema: described(route.request) } } } }),
    responses: {
      "200": { description: "The answer", content: contentOf(route) },
      default: { description: "An error", content: { [JSON_TYPE]: { schema: described(HTTP_SHAPES.ErrorAnswer) } } },
    },
  };
}

function contentOf({ answer }: Route): object {
  if (answer === "bytes") return { "application/octet-stream": {} };
  if (answer === "text") return { "text/plain": {} };
  return { [JSON_TYPE]: { schema: described(answer) } };
}

/** The shape with what its members are, and with the alphabet of binary values, which the parsers know by themselves. */
function described(shape: Shape): object {
  if (shape.type === "array") return { ...shape, items: described(shape.items) };
  if (shape.type === "string" && shape.contentEncoding !== undefined) return { ...shape, pattern: BASE64 };
  if (shape.type !== "object") return shape;
  if (!("properties" in shape)) return { ...shape, additionalProperties: described(shape.additionalProperties) };
  const members = Object.entries(shape.properties).map(([name, member]) => {
    const description = MEMBERS[name];
    return [name, { ...described(member), ...(description === undefined ? {} : { description }) }];
  });
  return { ...shape, properties: Object.fromEntries(members) as object };
}
