package lightly

import "encoding/json"

// The objects of the Lightly HTTP API, version 1, as they stand on the wire.
// Timestamps are Unix milliseconds; a mask is hexadecimal with bit k for row k
// of the dataset's filename mapping. Fields that no supported client release
// needs are left out, because strict releases refuse what they do not know.

// initialTag is the name of the tag that holds every row of a dataset.
const initialTag = "initial-tag"

// Dataset is one dataset of a list.
type Dataset struct {
	ID             string `json:"id"`
	Name           string `json:"name"`
	UserID         string `json:"userId"`
	Type           string `json:"type"` // Images, Videos, Crops
	NSamples       int64  `json:"nSamples"`
	SizeInBytes    int64  `json:"sizeInBytes"`
	CreatedAt      int64  `json:"createdAt"`
	LastModifiedAt int64  `json:"lastModifiedAt"`
	ImgType        string `json:"imgType,omitempty"` // full, thumbnail, meta
}

// Sample is one row of a dataset.
type Sample struct {
	ID             string          `json:"id"`
	DatasetID      string          `json:"datasetId"`
	Type           string          `json:"type"` // IMAGE, VIDEO_FRAME, CROP
	FileName       string          `json:"fileName"`
	ThumbName      string          `json:"thumbName,omitempty"`
	Index          int             `json:"index"`
	CreatedAt      int64           `json:"createdAt"`
	LastModifiedAt int64           `json:"lastModifiedAt"`
	Exif           json.RawMessage `json:"exif,omitempty"`
	MetaData       json.RawMessage `json:"metaData,omitempty"`
	CustomMetaData json.RawMessage `json:"customMetaData,omitempty"`
	VideoFrameData json.RawMessage `json:"videoFrameData,omitempty"`
	CropData       json.RawMessage `json:"cropData,omitempty"`
}

// Tag is a named set of rows. The key prevTagId is always present; null marks
// the initial tag.
type Tag struct {
	ID               string  `json:"id"`
	DatasetID        string  `json:"datasetId"`
	PrevTagID        *string `json:"prevTagId"`
	Name             string  `json:"name"`
	BitMaskData      string  `json:"bitMaskData"`
	TotSize          int64   `json:"totSize"` // rows of the dataset, not of the tag
	CreatedAt        int64   `json:"createdAt"`
	LastModifiedAt   int64   `json:"lastModifiedAt,omitempty"`
	QueryTagID       string  `json:"queryTagId,omitempty"`
	PreselectedTagID string  `json:"preselectedTagId,omitempty"`
}

// Embedding is one embedding set of a dataset.
type Embedding struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	IsProcessed bool   `json:"isProcessed"`
	CreatedAt   int64  `json:"createdAt"`
	Is2D        bool   `json:"is2d,omitempty"`
}

// The states of a job. A client takes every other word for finished.
const (
	jobUnknown  = "UNKNOWN"
	jobWaiting  = "WAITING"
	jobRunning  = "RUNNING"
	jobFailed   = "FAILED"
	jobFinished = "FINISHED"
)

// JobStatus is the answer to a poll.
type JobStatus struct {
	ID                   string     `json:"id"`
	DatasetID            string     `json:"datasetId,omitempty"`
	Status               string     `json:"status"`
	Meta                 *JobMeta   `json:"meta,omitempty"`
	WaitTimeTillNextPoll float64    `json:"waitTimeTillNextPoll"` // seconds; old clients cut it to an integer
	CreatedAt            int64      `json:"createdAt"`
	LastModifiedAt       int64      `json:"lastModifiedAt,omitempty"`
	FinishedAt           int64      `json:"finishedAt,omitempty"`
	Error                string     `json:"error,omitempty"`
	Result               *JobResult `json:"result,omitempty"`
}

// JobMeta is a job's progress.
type JobMeta struct {
	Total     int64 `json:"total"`
	Processed int64 `json:"processed"`
}

// JobResult is what a finished job made: for type SAMPLING the id of the new
// tag, a string.
type JobResult struct {
	Type string `json:"type"`
	Data any    `json:"data"`
}

// listedJob is one job of GET /v1/jobs.
type listedJob struct {
	ID         string `json:"id"`
	JobID      string `json:"jobId"`
	JobType    string `json:"jobType"`
	Status     string `json:"status"`
	DatasetID  string `json:"datasetId"`
	CreatedAt  int64  `json:"createdAt"`
	FinishedAt int64  `json:"finishedAt,omitempty"`
}

// newTag is the body of POST tags.
type newTag struct {
	Name        string `json:"name"`
	PrevTagID   string `json:"prevTagId"`
	BitMaskData string `json:"bitMaskData"`
	TotSize     int64  `json:"totSize"`
	Creator     string `json:"creator"`
}

// newScores is the body of POST scores.
type newScores struct {
	ScoreType string    `json:"scoreType"`
	Scores    []float64 `json:"scores"`
}

// newSampling is the body of POST sampling.
type newSampling struct {
	NewTagName       string         `json:"newTagName"`
	Method           string         `json:"method"`
	Config           samplingConfig `json:"config"`
	PreselectedTagID string         `json:"preselectedTagId,omitempty"`
	QueryTagID       string         `json:"queryTagId,omitempty"`
	RowCount         int64          `json:"rowCount"`
	ScoreType        string         `json:"scoreType,omitempty"` // known to servers since 1.2.9
}

type samplingConfig struct {
	StoppingCondition stoppingCondition `json:"stoppingCondition"`
}

// stoppingCondition ends a sampling at whichever comes first. NSamples counts
// the preselected samples too, -1 is no limit; MinDistance -1 is no limit.
type stoppingCondition struct {
	NSamples    float64 `json:"nSamples"`
	MinDistance float64 `json:"minDistance"`
}

// createdEntity answers the calls that create something; the field jobId
// stands where the thing is a job.
type createdEntity struct {
	ID    string `json:"id,omitempty"`
	JobID string `json:"jobId,omitempty"`
}

// errorBody is the body of every answer that is not 2xx. Message and Error
// carry the same text: releases before 1.3.2 know the first, later the second.
type errorBody struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	Error     string `json:"error"`
	RequestID string `json:"requestId,omitempty"`
}
