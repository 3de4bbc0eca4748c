import Investigation

/// A picture in the making: Scalable Vector Graphics 1.1, the part that every browser and GitHub draw.
struct SVGCanvas {
  /// What tells things apart. The colours are those of Okabe and Ito, which people with any colour vision tell apart; each has a
  /// pattern as well.
  enum Paint: String, CaseIterable {
    case blue, orange, red, purple, grey, black

    var color: String {
      switch self {
      case .blue: "#0072b2"
      case .orange: "#e69f00"
      case .red: "#d55e00"
      case .purple: "#cc79a7"
      case .grey: "#8a8a8a"
      case .black: "#222222"
      }
    }

    /// Lines over the colour; nil for none.
    fileprivate var pattern: String? {
      switch self {
      case .blue, .black: nil
      case .orange: "M0,8 L8,0"
      case .red: "M0,0 L8,8 M0,8 L8,0"
      case .purple: "M4,0 L4,8"
      case .grey: "M0,4 L8,4"
      }
    }
  }

  /// Where text is relative to its place.
  enum Anchor: String { case start, middle, end }

  private let width: Int
  private var body = ""

  init(width: Int) { self.width = width }

  /// A filled rectangle.
  mutating func rectangle(
    _ x: Double, _ y: Double, _ width: Double, _ height: Double, fill: String, stroke: String = "none",
    strokeWidth: Double = 1, radius: Double = 0, dashes: String = ""
  ) {
    body +=
      "<rect x=\"\(place(x))\" y=\"\(place(y))\" width=\"\(place(width))\" height=\"\(place(height))\" fill=\"\(fill)\""
    if stroke != "none" { body += " stroke=\"\(stroke)\" stroke-width=\"\(place(strokeWidth))\"" }
    if radius > 0 { body += " rx=\"\(place(radius))\"" }
    if !dashes.isEmpty { body += " stroke-dasharray=\"\(dashes)\"" }
    body += "/>\n"
  }

  /// A filled rectangle in a paint, with its pattern where there is room for one.
  mutating func area(_ x: Double, _ y: Double, _ width: Double, _ height: Double, _ paint: Paint) {
    rectangle(x, y, width, height, fill: width < 8 ? paint.color : "url(#\(paint.rawValue))")
  }

  /// A line through points, with an arrow's head at its end if wanted.
  mutating func line(
    _ points: [(Double, Double)], _ color: String, width: Double = 1, dashes: String = "", head: Paint? = nil
  ) {
    let path = points.map { "\(place($0.0)),\(place($0.1))" }.joined(separator: " ")
    body += "<polyline points=\"\(path)\" fill=\"none\" stroke=\"\(color)\" stroke-width=\"\(place(width))\""
    if !dashes.isEmpty { body += " stroke-dasharray=\"\(dashes)\"" }
    if let head { body += " marker-end=\"url(#head-\(head.rawValue))\"" }
    body += "/>\n"
  }

  /// Text, whatever is in it.
  mutating func text(
    _ x: Double, _ y: Double, _ text: String, size: Int = 13, color: String = "#222222", anchor: Anchor = .start,
    isBold: Bool = false, isCode: Bool = false
  ) {
    body += "<text x=\"\(place(x))\" y=\"\(place(y))\" font-size=\"\(size)\" fill=\"\(color)\""
    if anchor != .start { body += " text-anchor=\"\(anchor.rawValue)\"" }
    if isBold { body += " font-weight=\"bold\"" }
    if isCode { body += " font-family=\"DejaVu Sans Mono, Consolas, monospace\"" }
    body += ">\(Self.escaped(text))</text>\n"
  }

  /// The file's text, `height` high.
  func document(height: Double, title: String) -> String {
    var text = """
      <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(width) \(place(height))" width="\(width)" height="\(place(height))" \
      font-family="DejaVu Sans, Verdana, Helvetica, sans-serif" role="img">
      <title>\(Self.escaped(title))</title>
      <defs>

      """
    for paint in Paint.allCases {
      let lines = paint.pattern.map { "<path d=\"\($0)\" stroke=\"#ffffff\" stroke-width=\"1.4\"/>" } ?? ""
      text += """
        <pattern id="\(paint.rawValue)" width="8" height="8" patternUnits="userSpaceOnUse">\
        <rect width="8" height="8" fill="\(paint.color)"/>\(lines)</pattern>
        <marker id="head-\(paint.rawValue)" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" \
        markerUnits="userSpaceOnUse" orient="auto"><path d="M0,0 L10,5 L0,10 z" fill="\(paint.color)"/></marker>

        """
    }
    return text + "</defs>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n" + body + "</svg>\n"
  }

  /// A number with at most two digits behind the point.
  private func place(_ number: Double) -> String {
    let hundredths = Int64(max(-1e12, min(number * 100, 1e12)).rounded())
    let (whole, rest) = hundredths.magnitude.quotientAndRemainder(dividingBy: 100)
    let fraction = rest == 0 ? "" : rest % 10 == 0 ? ".\(rest / 10)" : rest < 10 ? ".0\(rest)" : ".\(rest)"
    return (hundredths < 0 ? "-" : "") + "\(whole)\(fraction)"
  }

  /// Text that holds no markup, for an element's content.
  private static func escaped(_ text: String) -> String {
    printable(text).replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
  }
}
