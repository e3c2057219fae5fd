package lightly

// Limits of bodies, in bytes.
const (
	smallBody  = 64 << 10
	sampleBody = 512 << 10
	maskBody   = 8 << 20
	largeBody  = 128 << 20 // scores
	imageBody  = 512 << 20
	csvBody    = 1 << 50 // ServerConfig.MaxCSV holds
)

// route is one call of the API. Its handler answers, or returns what to
// refuse.
type route struct {
	method, path string
	serve        func(*call) error
	access       access
	body         int64 // limit; 0 becomes smallBody
}

// routes is the whole API. schemas/lightly-openapi.yaml describes it; a test
// compares the two. Two pairs of paths of the original cannot both be in a
// ServeMux: docker/runs/schedule/{id} with docker/runs/{id}/logs, and
// docker/worker/config/{id} with docker/worker/{id}/schedule.
var routes []route

func init() {
	routes = []route{
		{"GET", "/v1/versions/pip/latest", (*call).latestVersion, open, 0},
		{"GET", "/v1/versions/pip/minimum", (*call).minimumVersion, open, 0},
		{"GET", "/v1/quota", (*call).quota, byToken, 0},
		{"GET", "/users/quota", (*call).quotaObject, byToken, 0},

		{"GET", "/v1/datasets", (*call).listDatasets, byToken, 0},
		{"POST", "/v1/datasets", (*call).createDataset, byToken, 0},
		{"POST", "/v1/datasets/{$}", (*call).createDataset, byToken, 0}, // up to 1.1.16
		{"GET", "/v1/datasets/query/name/{name}", (*call).queryDatasets, byToken, 0},
		{"GET", "/v1/datasets/{d}", (*call).getDataset, byToken, 0},
		{"PUT", "/v1/datasets/{d}", (*call).renameDataset, byToken, 0},
		{"DELETE", "/v1/datasets/{d}", (*call).deleteDataset, byToken, 0},
		{"GET", "/v1/datasets/{d}/children", (*call).datasetChildren, byToken, 0},
		{"GET", "/v1/datasets/{d}/datasource", (*call).datasource, byToken, 0},
		{"PUT", "/v1/datasets/{d}/registerDatasetUpload", (*call).registerUpload, byToken, 0},

		{"GET", "/v1/datasets/{d}/mappings", (*call).mappings, byToken, 0},
		{"GET", "/v1/datasets/{d}/tags", (*call).listTags, byToken, 0},
		{"GET", "/v1/datasets/{d}/tags/{t}", (*call).getTag, byToken, 0},

		{"GET", "/v1/jobs", (*call).listJobs, byToken, 0},
		{"GET", "/v1/jobs/{j}", (*call).getJob, byToken, 0},
	}
	for i := range routes {
		if routes[i].body == 0 {
			routes[i].body = smallBody
		}
	}
}
