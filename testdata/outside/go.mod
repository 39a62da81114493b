// This module stands for a foreign program: it imports Sealgate's public packages from outside. The test
// internal/layout builds and vets it; other requirements follow from Sealgate's own go.mod.
module example.com/outside

go 1.26.0

require github.com/sealgate/sealgate v0.0.0

replace github.com/sealgate/sealgate => ../..
