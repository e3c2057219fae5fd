// Package schemas holds the published contract: the JSON Schema of each event
// type's data, example events, and the AsyncAPI and OpenAPI documents. It knows nothing of
// how they are used.
package schemas

import "embed"

// FS holds <type>/v1.json and common/v1.json, whose $id is the same path below
// https://nextbatch.dev/schemas/, examples/<type>/*.json, which are complete
// structured CloudEvents, asyncapi.yaml, and lightly-openapi.yaml, the HTTP API.
//
//go:embed */v1.json examples asyncapi.yaml lightly-openapi.yaml
var FS embed.FS
