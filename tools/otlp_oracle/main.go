// Command otlp_oracle says what Prometheus 3.5.3 makes of OTLP metrics: its own translation, without
// the server around it, which Debian's package has no OTLP receiver in.
//
// It reads export requests in protobuf from standard input, each behind its length (four bytes, big
// endian), and writes a line of JSON for each series of each: labels, and pairs of milliseconds and
// value. tests/compat/test_otlp.py compares.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"

	"github.com/prometheus/prometheus/config"
	translator "github.com/prometheus/prometheus/storage/remote/otlptranslator/prometheusremotewrite"
)

type series struct {
	Labels  map[string]string `json:"labels"`
	Samples [][2]string       `json:"samples"`
}

func main() {
	strategy := flag.String("translation_strategy", "UnderscoreEscapingWithSuffixes", "")
	promote := flag.String("promote_resource_attributes", "", "")
	promoteAll := flag.Bool("promote_all_resource_attributes", false, "")
	ignore := flag.String("ignore_resource_attributes", "", "")
	keep := flag.Bool("keep_identifying_resource_attributes", false, "")
	flag.Parse()
	otlp := config.OTLPConfig{
		PromoteResourceAttributes:    listed(*promote),
		PromoteAllResourceAttributes: *promoteAll,
		IgnoreResourceAttributes:     listed(*ignore),
	}
	settings := translator.Settings{
		AddMetricSuffixes:                 *strategy != "NoTranslation",
		AllowUTF8:                         *strategy != "UnderscoreEscapingWithSuffixes",
		PromoteResourceAttributes:         translator.NewPromoteResourceAttributes(otlp),
		KeepIdentifyingResourceAttributes: *keep,
	}
	if err := run(os.Stdin, os.Stdout, settings); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func listed(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

func run(in io.Reader, out io.Writer, settings translator.Settings) error {
	encoder := json.NewEncoder(out)
	for {
		var size uint32
		err := binary.Read(in, binary.BigEndian, &size)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		body := make([]byte, size)
		if _, err := io.ReadFull(in, body); err != nil {
			return err
		}
		if err := translate(body, encoder, settings); err != nil {
			return err
		}
	}
}

func translate(body []byte, encoder *json.Encoder, settings translator.Settings) error {
	request := pmetricotlp.NewExportRequest()
	if err := request.UnmarshalProto(body); err != nil {
		return err
	}
	converter := translator.NewPrometheusConverter()
	// What it does not translate it tells here, and goes on.
	_, err := converter.FromMetrics(context.Background(), request.Metrics(), settings)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	for _, found := range converter.TimeSeries() {
		one := series{Labels: map[string]string{}}
		for _, label := range found.Labels {
			one.Labels[label.Name] = label.Value
		}
		for _, sample := range found.Samples {
			one.Samples = append(one.Samples, [2]string{
				strconv.FormatInt(sample.Timestamp, 10),
				strconv.FormatFloat(sample.Value, 'g', -1, 64),
			})
		}
		if err := encoder.Encode(one); err != nil {
			return err
		}
	}
	return nil
}
