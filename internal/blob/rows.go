package blob

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// lines calls read with each line, without its end and the byte order mark
// that some editors put in front, and with the number of bytes up to its end.
// Lines end with \n, \r\n or \r\r\n. The line is only valid during the call.
func (f *File) lines(code string, read func(number int, line []byte, end int64) error) error {
	sc := bufio.NewScanner(f.reader())
	sc.Buffer(make([]byte, 0, 256<<10), maxValue)
	end := int64(0)
	sc.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		n, line, err := bufio.ScanLines(data, atEOF)
		end += int64(n)
		return n, line, err
	})
	number := 0
	for sc.Scan() {
		number++
		line := bytes.TrimRight(sc.Bytes(), "\r")
		if number == 1 {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
			if bytes.HasPrefix(line, []byte("PK\x03\x04")) || bytes.HasPrefix(line, []byte(npyMagic)) {
				return fault(code, "set format to npy or npz", "is an array file of numpy, not text")
			}
		}
		if err := read(number, line, end); err != nil {
			if final(err) {
				return err
			}
			return fault(code, "", "line %d: %s", number, err)
		}
	}
	if errors.Is(sc.Err(), bufio.ErrTooLong) {
		return fault(code, "", "line %d is longer than %d bytes", number+1, maxValue)
	}
	return sc.Err()
}

// rows calls read for each row of JSON: the lines of JSON lines, blank ones
// left out, or the elements of an array. It also tells how many bytes come
// before the end of the row; about, for an array.
func (f *File) rows(read func(s *scanner, end int64) error) error {
	if f.format == "jsonl" {
		return f.lines("bad_json", func(_ int, line []byte, end int64) error {
			s := &scanner{b: line}
			if s.peek() == 0 && s.i == len(line) {
				return nil
			}
			if err := read(s, end); err != nil {
				return err
			}
			return s.end()
		})
	}
	data, err := f.whole(f.size)
	if err != nil {
		return err
	}
	s := &scanner{b: data}
	number := 0
	err = s.array(func() error {
		number++
		err := read(s, int64(s.i))
		if err != nil && !final(err) {
			err = fault("bad_json", "", "row %d: %s", number, err)
		}
		return err
	})
	if err == nil {
		err = s.end()
	}
	return coded("bad_json", "want an array of rows", err)
}

// whole reads the file into memory.
func (f *File) whole(size int64) ([]byte, error) {
	if err := f.take(size); err != nil {
		return nil, err
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(f.reader(), data); err != nil {
		return nil, err
	}
	return data, nil
}
