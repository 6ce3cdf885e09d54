// What does a picture show? node examples/predict.js localhost:8500 fashion_mnist boot.png
const fs = require('fs')
const path = require('path')
const grpc = require('@grpc/grpc-js')
const protoLoader = require('@grpc/proto-loader')

const [address, model, picture] = process.argv.slice(2)
if (!picture) {
  console.error('node examples/predict.js localhost:8500 fashion_mnist boot.png')
  process.exit(2)
}
if (!fs.existsSync(picture)) {
  console.error(`${picture}: no such file`)
  process.exit(1)
}

const proto = path.join(__dirname, 'prediction_service.proto')
const includeDirs = [path.dirname(__dirname)] // it imports from there
const protos = protoLoader.loadSync(proto, { includeDirs, enums: String })
const { PredictionService } = grpc.loadPackageDefinition(protos).tensorflow.serving

const client = new PredictionService(address, grpc.credentials.createInsecure())
const request = {
  modelSpec: { name: model, signatureName: 'serving_bytes' },
  inputs: { image_bytes: { dtype: 'DT_STRING', tensorShape: { dim: [{ size: 1 }] }, stringVal: [fs.readFileSync(picture)] } },
  outputFilter: ['top_labels', 'top_scores']
}

client.predict(request, { deadline: Date.now() + 5000 }, (error, response) => {
  client.close()
  if (error) {
    console.error(`${grpc.status[error.code]}: ${error.details}`)
    process.exitCode = 1
    return
  }
  const { top_labels: labels, top_scores: scores } = response.outputs
  labels.stringVal.slice(0, 3).forEach((label, i) =>
    console.log(`${(100 * scores.floatVal[i]).toFixed(1).padStart(5)}%  ${label}`))
})
