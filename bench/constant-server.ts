import http from "node:http";

/** The floor for a GET: a plain node server that answers the same bytes to everybody. `constant-server.ts BODY` prints its port. */
const body = process.argv[2] ?? "{}";
const length = String(Buffer.byteLength(body));
const server = http.createServer((_request, response) => {
  response.writeHead(200, { "Content-Type": "application/json; charset=utf-8", "Content-Length": length });
  response.end(body);
});
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  process.stdout.write(`${typeof address === "object" && address !== null ? address.port : 0}\n`);
});
