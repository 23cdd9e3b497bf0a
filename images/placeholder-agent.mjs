// Stands in for the agent while an image without one is wanted: an HTTP/2 server that answers
// every request, so that the link can be tried end to end.
import { createServer } from 'node:http2';

const server = createServer((_request, response) => {
  response.end('placeholder');
});
server.listen('/run/husk/agent.sock');
