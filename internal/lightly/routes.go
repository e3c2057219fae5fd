package lightly

// Limits of bodies, in bytes.
const (
	smallBody  = 64 << 10
	sampleBody = 512 << 10
	maskBody   = 8 << 20
	eventsBody = 8 << 20
	largeBody  = 256 << 20 // scores: 10,000,000 in Python's repr
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

		{"GET", "/v1/datasets/enriched", (*call).enrichedDatasets, byToken, 0},

		{"GET", "/v1/datasets/{d}/samples", (*call).listSamples, byToken, 0},
		{"POST", "/v1/datasets/{d}/samples", (*call).createSample, byToken, sampleBody},
		{"GET", "/v1/datasets/{d}/samples/partial", (*call).listPartialSamples, byToken, 0},
		{"GET", "/v1/datasets/{d}/samples/{s}", (*call).getSample, byToken, 0},
		{"PUT", "/v1/datasets/{d}/samples/{s}", (*call).updateSample, byToken, sampleBody},
		{"GET", "/v1/datasets/{d}/samples/{s}/writeurl", (*call).writeURL, byToken, 0},
		{"GET", "/v1/datasets/{d}/samples/{s}/writeurls", (*call).writeURLs, byToken, 0},
		{"GET", "/v1/datasets/{d}/samples/{s}/readurl", (*call).readURL, byToken, 0},
		{"PUT", "/v1/signed/datasets/{d}/samples/{s}/{kind}", (*call).putImage, signed, imageBody},
		{"GET", "/v1/signed/datasets/{d}/samples/{s}/{kind}", (*call).getImage, signed, 0},

		{"GET", "/v1/datasets/{d}/embeddings", (*call).listEmbeddings, byToken, 0},
		{"GET", "/v1/datasets/{d}/embeddings/writeCSVUrl", (*call).writeCSVURL, byToken, 0},
		{"GET", "/v1/datasets/{d}/embeddings/{e}/readCSVUrl", (*call).readCSVURL, byToken, 0},
		{"DELETE", "/v1/datasets/{d}/embeddings/{e}", (*call).deleteEmbedding, byToken, 0},
		{"PUT", "/v1/datasets/{d}/embeddings/{e}/isProcessed", (*call).setProcessed, byToken, 0},
		{"POST", "/v1/datasets/{d}/embeddings/{e}/trigger2dEmbeddingsJob", (*call).trigger2D, byToken, 0},
		{"GET", "/v1/datasets/{d}/embeddings/{e}/2d", (*call).list2D, byToken, 0},
		{"POST", "/v1/datasets/{d}/embeddings/{e}/2d", (*call).create2D, byToken, largeBody},
		{"GET", "/v1/datasets/{d}/embeddings/{e}/2d/{p}", (*call).get2D, byToken, 0},
		{"POST", "/v1/datasets/{d}/embeddings/{e}/sampling", (*call).sampleTag, byToken, 0},
		{"PUT", "/v1/signed/datasets/{d}/embeddings/{e}/csv", (*call).putCSV, signed, csvBody},
		{"GET", "/v1/signed/datasets/{d}/embeddings/{e}/csv", (*call).getCSV, signed, 0},

		{"GET", "/v1/datasets/{d}/mappings", (*call).mappings, byToken, 0},
		{"GET", "/v1/datasets/{d}/tags", (*call).listTags, byToken, 0},
		{"POST", "/v1/datasets/{d}/tags", (*call).createTag, byToken, maskBody},
		{"POST", "/v1/datasets/{d}/tags/initial", (*call).createInitial, byToken, 0},
		{"POST", "/v1/datasets/{d}/tags/upsize", (*call).upsize, byToken, 0},
		{"POST", "/v1/datasets/{d}/tags/arithmetics", (*call).arithmetics, byToken, 0},
		{"POST", "/v1/datasets/{d}/tags/arithmetics/bitmask", (*call).arithmeticsMask, byToken, 0},
		{"GET", "/v1/datasets/{d}/tags/{t}", (*call).getTag, byToken, 0},
		{"PUT", "/v1/datasets/{d}/tags/{t}", (*call).renameTag, byToken, 0},
		{"DELETE", "/v1/datasets/{d}/tags/{t}", (*call).deleteTag, byToken, 0},
		{"GET", "/v1/datasets/{d}/tags/{t}/scores", (*call).listScores, byToken, 0},
		{"POST", "/v1/datasets/{d}/tags/{t}/scores", (*call).createScores, byToken, largeBody},
		{"GET", "/v1/datasets/{d}/tags/{t}/scores/{score}", (*call).getScores, byToken, 0},
		{"GET", "/v1/datasets/{d}/tags/{t}/filenames", (*call).tagFilenames, byToken, 0},
		{"GET", "/v1/datasets/{d}/tags/{t}/export/basic/filenames", (*call).exportFilenames, byToken, 0},
		{"GET", "/v1/datasets/{d}/tags/{t}/export/basic/filenamesAndReadUrls", (*call).exportURLs, byToken, 0},
		{"GET", "/v1/datasets/{d}/tags/{t}/export/LabelStudio/tasks", (*call).exportLabelStudio, byToken, 0},
		{"GET", "/v1/datasets/{d}/tags/{t}/export/LabelBox/datarows", (*call).exportLabelbox, byToken, 0},
		{"GET", "/v1/datasets/{d}/tags/{t}/export/Sama/tasks", (*call).exportSama, byToken, 0},
		{"GET", "/v1/datasets/{d}/tags/{t}/export/zip", (*call).exportZip, byToken, 0},

		{"GET", "/v1/datasets/{d}/configuration/metadata", (*call).listMetadata, byToken, 0},
		{"POST", "/v1/datasets/{d}/configuration/metadata", (*call).createMetadata, byToken, 0},
		{"GET", "/v1/datasets/{d}/configuration/metadata/{m}", (*call).getMetadata, byToken, 0},
		{"PUT", "/v1/datasets/{d}/configuration/metadata/{m}", (*call).updateMetadata, byToken, 0},

		{"GET", "/v1/datasets/{d}/predictions/tasks", (*call).listTasks, byToken, 0},
		{"POST", "/v1/datasets/{d}/predictions/tasks", (*call).putTask, byToken, sampleBody},
		{"GET", "/v1/datasets/{d}/predictions/tasks/{task}", (*call).getTask, byToken, 0},
		{"GET", "/v1/datasets/{d}/predictions/samples", (*call).listPredictions, byToken, 0},
		{"GET", "/v1/datasets/{d}/predictions/samples/{s}", (*call).getPredictions, byToken, 0},
		{"POST", "/v1/datasets/{d}/predictions/samples/{s}", (*call).putPredictions, byToken, maskBody},

		{"GET", "/v1/docker/worker", (*call).listWorkers, byToken, 0},
		{"POST", "/v1/docker/worker", (*call).registerWorker, byToken, 0},
		{"DELETE", "/v1/docker/worker/{w}", (*call).deleteWorker, byToken, 0},
		{"POST", "/v1/docker/worker/config", (*call).createRunConfig, byToken, sampleBody},
		{"GET", "/v1/datasets/{d}/docker/worker/schedule", (*call).listScheduled, byToken, 0},
		{"POST", "/v1/datasets/{d}/docker/worker/schedule", (*call).scheduleRun, byToken, 0},
		{"GET", "/v1/docker/runs", (*call).listRuns, byToken, 0},
		{"GET", "/v1/docker/runs/{run}", (*call).getRun, byToken, 0},
		{"GET", "/v1/docker/runs/schedule/{run}", (*call).getRun, byToken, 0},
		{"GET", "/v1/docker/runs/query/datasetId/{d}", (*call).queryRuns, byToken, 0},
		{"GET", "/v1/docker/runs/{run}/artifacts/{a}/readurl", (*call).getArtifact, byToken, 0},

		{"POST", "/v1/events", (*call).postEvents, byToken, eventsBody},
		{"GET", "/v1/datasets/{d}/policy", (*call).getPolicy, byToken, 0},
		{"PUT", "/v1/datasets/{d}/policy", (*call).putPolicy, byToken, 0},

		{"GET", "/v1/jobs", (*call).listJobs, byToken, 0},
		{"GET", "/v1/jobs/{j}", (*call).getJob, byToken, 0},
	}
	for i := range routes {
		if routes[i].body == 0 {
			routes[i].body = smallBody
		}
	}
}
