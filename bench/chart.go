package main

import (
	"bytes"
	"image/color"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// chart is a plot in the bench's style. Bars begin at zero; a logarithmic axis
// says so.
type chart struct {
	*plot.Plot
	order  []contestant // of colours that no contestant has of its own
	legend []entry
	top    *plotter.BarChart // the bars that were drawn last
}

// entry is a line of the legend.
type entry struct {
	name   string
	colour color.Color
	line   bool // or a bar
	dashes []vg.Length
}

// dashed is how a line is broken.
var dashed = []vg.Length{5, 3}

// Size of a plot: legible where a README shows it at its full width.
const (
	chartWidth, chartHeight = 8 * vg.Inch, 4.5 * vg.Inch
	chartFonts              = "Liberation Sans,Arial,Helvetica,sans-serif"
)

// colours are told apart by those who see colours differently, too (Okabe and
// Ito's palette). Variants take the spare ones.
var (
	colours = map[contestant]color.RGBA{
		lethe: {0x00, 0x72, 0xB2, 0xFF}, plain: {0xE6, 0x9F, 0x00, 0xFF}, oneStatement: {0x00, 0x9E, 0x73, 0xFF},
		nibble: {0xD5, 0x5E, 0x00, 0xFF}, bound: {0x88, 0x88, 0x88, 0xFF}, nothing: {0x22, 0x22, 0x22, 0xFF},
	}
	spare = []color.RGBA{{0x56, 0xB4, 0xE9, 0xFF}, {0xCC, 0x79, 0xA7, 0xFF}, {0xB2, 0x9D, 0x00, 0xFF}, {0x44, 0x44, 0x99, 0xFF}}
)

func newChart(title, x, y string) *chart {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	style(&p.Title.TextStyle, 13)
	p.Title.Padding = 8
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		style(&axis.Label.TextStyle, 11)
		style(&axis.Tick.Label, 10)
		axis.Padding = 0
	}
	p.Y.Tick.Marker = thousands{plot.DefaultTicks{}}
	p.BackgroundColor = color.White
	return &chart{Plot: p}
}

// style sets text without serifs.
func style(s *text.Style, size font.Length) {
	s.Font.Typeface, s.Font.Variant, s.Font.Size = "Liberation", "Sans", size
}

// colour is a contestant's own.
func (c *chart) colour(who contestant) color.RGBA {
	if own, ok := colours[who]; ok {
		return own
	}
	i := slices.Index(c.order, who)
	if i < 0 {
		i, c.order = len(c.order), append(c.order, who)
	}
	return spare[i%len(spare)]
}

// grid shows the values' lines behind all that is drawn later.
func (c *chart) grid(vertical bool) {
	g := plotter.NewGrid()
	g.Horizontal.Color, g.Vertical.Color = color.Gray{0xDD}, color.Gray{0xDD}
	if !vertical {
		g.Vertical.Color = nil
	}
	c.Add(g)
}

// line adds a curve.
func (c *chart) line(name string, points series, colour color.Color, dashes []vg.Length) error {
	xys := make(plotter.XYs, len(points))
	for i, p := range points {
		xys[i] = plotter.XY{X: p[0], Y: p[1]}
	}
	l, err := plotter.NewLine(xys)
	if err != nil {
		return err
	}
	l.Color, l.Width, l.Dashes = colour, 1.6, dashes
	c.Add(l)
	if name != "" {
		c.legend = append(c.legend, entry{name, colour, true, dashes})
	}
	return nil
}

// dots adds points to a curve that has few.
func (c *chart) dots(points series, colour color.Color) error {
	xys := make(plotter.XYs, len(points))
	for i, p := range points {
		xys[i] = plotter.XY{X: p[0], Y: p[1]}
	}
	s, err := plotter.NewScatter(xys)
	if err != nil {
		return err
	}
	s.GlyphStyle = draw.GlyphStyle{Color: colour, Radius: 3, Shape: draw.CircleGlyph{}}
	c.Add(s)
	return nil
}

// label writes text above a point.
func (c *chart) label(x, y float64, say string) error {
	l, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: x, Y: y}}, Labels: []string{say}})
	if err != nil {
		return err
	}
	style(&l.TextStyle[0], 9)
	l.TextStyle[0].XAlign, l.TextStyle[0].YAlign = text.XCenter, text.YBottom
	l.Offset.Y = 3
	c.Add(l)
	return nil
}

// save writes the chart as SVG, whose text any browser can set.
func (c *chart) save(path string) error {
	canvas := vgsvg.New(chartWidth, chartHeight)
	whole := draw.New(canvas)
	whole.FillPolygon(color.White, []vg.Point{whole.Min, {X: whole.Min.X, Y: whole.Max.Y}, whole.Max, {X: whole.Max.X, Y: whole.Min.Y}})
	c.Draw(draw.Crop(whole, 8, -16, legendHeight+4, -6))
	c.drawLegend(whole)
	var out bytes.Buffer
	if _, err := canvas.WriteTo(&out); err != nil {
		return err
	}
	svg := strings.ReplaceAll(out.String(), "font-family:Liberation Sans", "font-family:"+chartFonts)
	return os.WriteFile(path, []byte(svg), 0o644) //nolint:gosec // a picture to be shown
}

// legendHeight is the strip below the plot in which the legend stands: nothing
// that is drawn can be below it.
const legendHeight = 22

// drawLegend writes the entries side by side. The widths have room for fonts
// that are wider than the one they are reckoned with.
func (c *chart) drawLegend(to draw.Canvas) {
	const mark, gap, wider = 18, 22, 1.15
	sty := c.X.Tick.Label
	style(&sty, 10)
	sty.XAlign, sty.YAlign = text.XLeft, text.YCenter
	all := vg.Length(-gap)
	for _, e := range c.legend {
		all += mark + 5 + sty.Width(e.name)*wider + gap
	}
	x, y := to.Min.X+(chartWidth-all)/2, to.Min.Y+legendHeight/2
	for _, e := range c.legend {
		if e.line {
			to.StrokeLine2(draw.LineStyle{Color: e.colour, Width: 2, Dashes: e.dashes}, x, y, x+mark, y)
		} else {
			to.FillPolygon(e.colour, []vg.Point{{X: x + 6, Y: y - 5}, {X: x + mark, Y: y - 5}, {X: x + mark, Y: y + 5}, {X: x + 6, Y: y + 5}})
		}
		to.FillText(sty, vg.Point{X: x + mark + 5, Y: y}, e.name)
		x += mark + 5 + sty.Width(e.name)*wider + gap
	}
}

// thousands sets a space between the thousands of another's ticks.
type thousands struct{ plot.Ticker }

// Ticks are the other's, with other labels.
func (t thousands) Ticks(lo, hi float64) []plot.Tick {
	ticks := t.Ticker.Ticks(lo, hi)
	for i, tick := range ticks {
		switch v, err := strconv.ParseFloat(tick.Label, 64); {
		case err != nil: // a minor one
		case v == 0:
			ticks[i].Label = "0"
		case math.Abs(v) >= 1000:
			ticks[i].Label = number(v)
		}
	}
	return ticks
}

// decades are ticks at 1, 2, 5, 10, …, for a logarithmic axis.
type decades struct{ only1 bool }

// Ticks are those from lo to hi.
func (d decades) Ticks(lo, hi float64) []plot.Tick {
	steps := []float64{1, 2, 5}
	if d.only1 {
		steps = steps[:1]
	}
	var ticks []plot.Tick
	for e := math.Floor(math.Log10(lo)); e <= math.Ceil(math.Log10(hi)); e++ {
		for _, step := range steps {
			if v := step * math.Pow(10, e); v >= lo*0.999 && v <= hi*1.001 {
				label := strconv.FormatFloat(v, 'f', -1, 64)
				if v >= 1000 {
					label = number(v)
				}
				ticks = append(ticks, plot.Tick{Value: v, Label: label})
			}
		}
	}
	return ticks
}
