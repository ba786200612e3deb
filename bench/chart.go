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

// chart is curves in the bench's style. An axis begins at zero unless it is logarithmic, which its label says.
type chart struct {
	*plot.Plot
	x, y   axis
	lo, hi [2]float64   // of all points
	others []contestant // who have no colour of their own
	legend []entry
}

// axis is one of a chart's.
type axis struct {
	label string
	max   float64 // 0: what the points need
	log   bool
	ticks plot.Ticker // nil: the usual
}

// entry is a line of the legend.
type entry struct {
	name string
	line draw.LineStyle
}

// Size of a plot: legible where a README shows it at its full width.
const (
	chartWidth, chartHeight = 8 * vg.Inch, 4.5 * vg.Inch
	chartFonts              = "Liberation Sans,Arial,Helvetica,sans-serif"
	// legendHeight is the strip below the plot in which the legend stands.
	legendHeight = 22
)

// colors are told apart by those who see colors differently, too (Okabe and Ito's palette). Variants take the spare ones.
var (
	colors = map[contestant]color.RGBA{
		lethe: {0x00, 0x72, 0xB2, 0xFF}, plain: {0xE6, 0x9F, 0x00, 0xFF}, oneStatement: {0x00, 0x9E, 0x73, 0xFF},
		nibble: {0xD5, 0x5E, 0x00, 0xFF}, bound: {0x88, 0x88, 0x88, 0xFF}, nothing: {0x22, 0x22, 0x22, 0xFF},
	}
	spare = []color.RGBA{{0x56, 0xB4, 0xE9, 0xFF}, {0xCC, 0x79, 0xA7, 0xFF}, {0xB2, 0x9D, 0x00, 0xFF}, {0x44, 0x44, 0x99, 0xFF}}
)

func newChart(title string, x, y axis) *chart {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x.label, y.label
	style(&p.Title.TextStyle, 13)
	p.Title.Padding = 8
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		style(&a.Label.TextStyle, 11)
		style(&a.Tick.Label, 10)
		a.Padding = 0
	}
	p.BackgroundColor = color.White
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = color.Gray{0xDD}, color.Gray{0xDD}
	p.Add(grid)
	return &chart{Plot: p, x: x, y: y, lo: [2]float64{math.Inf(1), math.Inf(1)}}
}

// style sets text without serifs.
func style(s *text.Style, size font.Length) {
	s.Font.Typeface, s.Font.Variant, s.Font.Size = "Liberation", "Sans", size
}

// color is a contestant's own.
func (c *chart) color(who contestant) color.RGBA {
	if own, ok := colors[who]; ok {
		return own
	}
	i := slices.Index(c.others, who)
	if i < 0 {
		i, c.others = len(c.others), append(c.others, who)
	}
	return spare[i%len(spare)]
}

// line adds a contestant's curve, if it has any points; without a name it has none in the legend.
func (c *chart) line(name string, points series, who contestant, dashed bool) error {
	if len(points) == 0 {
		return nil
	}
	xys := make(plotter.XYs, len(points))
	for i, p := range points {
		xys[i] = plotter.XY{X: p[0], Y: p[1]}
		for axis, v := range p {
			c.lo[axis], c.hi[axis] = min(c.lo[axis], v), max(c.hi[axis], v)
		}
	}
	l, err := plotter.NewLine(xys)
	if err != nil {
		return err
	}
	l.Color, l.Width = c.color(who), 1.6
	if dashed {
		l.Dashes = []vg.Length{5, 3}
	}
	c.Add(l)
	if name != "" {
		c.legend = append(c.legend, entry{name, l.LineStyle})
	}
	return nil
}

// scale sets an axis for the points from lo to hi.
func (a axis) scale(to *plot.Axis, lo, hi float64) {
	to.Min, to.Max = 0, hi*1.1
	if a.log {
		to.Min, to.Scale, to.Tick.Marker = lo*0.9, plot.LogScale{}, decades{}
	}
	if a.max > 0 {
		to.Max = a.max
	}
	if a.ticks != nil {
		to.Max, to.Tick.Marker = hi, a.ticks
	}
}

// save writes the chart as SVG, whose text any browser can set.
func (c *chart) save(path string) error {
	c.x.scale(&c.X, c.lo[0], c.hi[0])
	c.y.scale(&c.Y, c.lo[1], c.hi[1])
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

// drawLegend writes the entries side by side. The widths have room for fonts
// that are wider than the one they are computed with.
func (c *chart) drawLegend(to draw.Canvas) {
	const mark, gap, wider = 18, 22, 1.15
	sty := c.X.Tick.Label
	sty.XAlign, sty.YAlign = text.XLeft, text.YCenter
	all := vg.Length(-gap)
	for _, e := range c.legend {
		all += mark + 5 + sty.Width(e.name)*wider + gap
	}
	x, y := to.Min.X+(chartWidth-all)/2, to.Min.Y+legendHeight/2
	for _, e := range c.legend {
		to.StrokeLine2(e.line, x, y, x+mark, y)
		to.FillText(sty, vg.Point{X: x + mark + 5, Y: y}, e.name)
		x += mark + 5 + sty.Width(e.name)*wider + gap
	}
}

// decades are ticks at 1, 2, 5, 10, …, for a logarithmic axis.
type decades struct{}

// Ticks are those from lo to hi.
func (decades) Ticks(lo, hi float64) []plot.Tick {
	var ticks []plot.Tick
	for e := math.Floor(math.Log10(lo)); e <= math.Ceil(math.Log10(hi)); e++ {
		for _, step := range []float64{1, 2, 5} {
			if v := step * math.Pow(10, e); v >= lo*0.999 && v <= hi*1.001 {
				ticks = append(ticks, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'f', -1, 64)})
			}
		}
	}
	return ticks
}
