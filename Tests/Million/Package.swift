// swift-tools-version: 6.1
import PackageDescription

let strict: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]

// The page tables, the device and their tests alone, by links to the real ones: a million tables under the address
// sanitizer are an affair of minutes in release mode, and nothing else need be built that way.
let package = Package(
  name: "Million",
  targets: [
    .systemLibrary(name: "CPrefetch"),
    .target(name: "PageTables", dependencies: ["CPrefetch"], swiftSettings: strict),
    .target(name: "IOMMUModel", dependencies: ["PageTables"], swiftSettings: strict),
    .target(name: "XuanTie", dependencies: ["IOMMUModel"], swiftSettings: strict),
    .target(name: "Children", swiftSettings: strict),
    .target(name: "Randomness", swiftSettings: strict),
    .testTarget(name: "PageTablesTests", dependencies: ["PageTables", "Randomness"], swiftSettings: strict),
    .target(name: "CXMMUv1", exclude: ["Makefile", "device", "walk-test.c"], publicHeadersPath: "."),
    .testTarget(
      name: "DifferentialTests",
      dependencies: ["Children", "CXMMUv1", "IOMMUModel", "PageTables", "Randomness", "XuanTie"], exclude: ["Guest"],
      swiftSettings: strict),
  ]
)
