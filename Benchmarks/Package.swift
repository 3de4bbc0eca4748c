// swift-tools-version: 6.1
import PackageDescription

// A package of its own, so that nobody who only uses IOMMULens builds a benchmark.
let package = Package(
  name: "Benchmarks",
  dependencies: [.package(name: "IOMMULens", path: "..")],
  targets: [
    .target(name: "Baselines", linkerSettings: [.linkedLibrary("sqlite3")]),
    .target(
      name: "Images", dependencies: [.product(name: "PageTables", package: "IOMMULens")],
      swiftSettings: [.swiftLanguageMode(.v6), .enableUpcomingFeature("InternalImportsByDefault")]),
    .executableTarget(
      name: "dump-alone", dependencies: ["Images", .product(name: "PageTables", package: "IOMMULens")],
      swiftSettings: [.swiftLanguageMode(.v6)]),
    .executableTarget(
      name: "benchmarks",
      dependencies: [
        "Baselines", "Images", .product(name: "PageTables", package: "IOMMULens"),
        .product(name: "Investigation", package: "IOMMULens"),
      ],
      swiftSettings: [.swiftLanguageMode(.v6)]),
  ]
)
