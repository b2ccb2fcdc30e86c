# The server: Node, the built JavaScript and the shim that it sends into drivers. From the repository's root:
#
#   docker build -f docker/server.Dockerfile -t longwick-server .
#
# BASE is an image with the Node of package.json and npm; only Node is used once it runs, and no shell.
ARG BASE=docker.io/library/node:24.21.0-bookworm-slim

FROM ${BASE} AS build
WORKDIR /build
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY src src
RUN npm run build && npm prune --omit=dev --no-audit --no-fund

FROM ${BASE}
WORKDIR /opt/longwick
COPY --from=build /build/node_modules node_modules
COPY --from=build /build/dist dist
COPY package.json ./
COPY bin bin
COPY python-shim python-shim
ENV NODE_ENV=production
USER 65532:65532
EXPOSE 8998
ENTRYPOINT ["node", "/opt/longwick/bin/longwick.js"]
CMD ["serve"]
