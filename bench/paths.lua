-- Asks for the addresses of a file, one a line, again from its start after its end. Run by bench/load.py.
-- Arguments: the file.

local paths, next_one = {}, 0

function init(args)
  for line in io.lines(args[1]) do paths[#paths + 1] = line end
end

function request()
  next_one = next_one % #paths + 1
  return wrk.format(nil, paths[next_one])
end
