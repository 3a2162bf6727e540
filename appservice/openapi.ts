/** The OpenAPI document, made from the routes and the message shapes. */
import { HTTP_SHAPES } from "../shared/messages.ts";
import { ROUTES, type Route } from "./api-routes.ts";

const JSON_TYPE = "application/json";

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
      : { requestBody: { required: true, content: { [JSON_TYPE]: { schema: route.request } } } }),
    responses: {
      "200": { description: "The answer", content: contentOf(route) },
      default: { description: "An error", content: { [JSON_TYPE]: { schema: HTTP_SHAPES.ErrorAnswer } } },
    },
  };
}

function contentOf({ answer }: Route): object {
  if (answer === "bytes") return { "application/octet-stream": {} };
  if (answer === "text") return { "text/plain": {} };
  return { [JSON_TYPE]: { schema: answer } };
}
